"""What results have in common: the corpus in words, the same documents, the same tokenizer, the same curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.results.load import latest
from l2m_eval.results.run import Results

# Settings that decide which documents are measured.
_SAMPLED = (
    "corpus",
    "column",
    "subset",
    "split",
    "documents",
    "chunk_bytes",
    "process",
    "process_settings",
    "seed",
)


def corpus_in_words(results: Results) -> str:
    """What was measured on: a process with its settings, a corpus by name, files without the folders above them."""
    settings = results.settings
    corpus = settings.get("corpus") or ()
    parts = [corpus] if isinstance(corpus, str) else [str(part) for part in corpus]
    if parts == ["process"]:
        given = settings.get("process_settings") or ()
        pairs = given.items() if isinstance(given, Mapping) else (pair for pair in given if len(pair) == 2)
        told = ", ".join(f"{key}={value}" for key, value in pairs)
        return f"process {settings.get('process', '?')}" + (f" ({told})" if told else "")
    short = ["/".join(part.replace("\\", "/").rstrip("/").split("/")[-2:]) for part in parts]
    named = ", ".join(short[:3]) + (f" and {len(short) - 3} more" if len(short) > 3 else "")
    return named or "?"


def same_documents(ours: Results, theirs: Results) -> bool | None:
    """Whether both runs measured the same documents, as their logs say; None where neither log is there."""
    if ours.documents is not None and theirs.documents is not None:
        return bool(ours.documents.identity == theirs.documents.identity)
    if ours.task == theirs.task and ours.task_hash and theirs.task_hash:
        return ours.task_hash == theirs.task_hash
    return None


def require_same_documents(ours: Results, theirs: Results) -> bool:
    """Whether both logs show the same documents; False where the settings alone say so.

    Raises:
        L2MError: the documents are not the same.
    """
    same = same_documents(ours, theirs)
    if same is None:
        for name in _SAMPLED:
            _refuse_unequal(name, ours, theirs, *(r.settings.get(name) for r in (ours, theirs)))
        # How long a chunk must be decides where it lies.
        _refuse_unequal("longest length", ours, theirs, *map(_longest, (ours, theirs)))
        _refuse_unequal("documents", ours, theirs, *(r.sample.get("documents") for r in (ours, theirs)))
    elif not same:
        counts = [results.sample.get("documents") for results in (ours, theirs)]
        raise L2MError(
            f"corpus: {ours.run.label} ({corpus_in_words(ours)}, {counts[0]} documents) and the reference "
            f"{theirs.run.label} ({corpus_in_words(theirs)}, {counts[1]} documents) were not measured on the same "
            "documents; measure both with the same corpus, documents, lengths and seed"
        )
    return bool(same)


def _longest(results: Results) -> Any:
    lengths = results.settings.get("lengths") or results.settings.get("contexts")
    return max(lengths) if lengths else results.settings.get("length") or 0


def _refuse_unequal(name: str, ours: Results, theirs: Results, a: Any, b: Any) -> None:
    if a != b:
        raise L2MError(
            f"{name}: {a!r} for {ours.run.label}, {b!r} for the reference {theirs.run.label}; measure both on the "
            "same documents"
        )


def same_tokenizer(ours: Results, theirs: Results, curve: str) -> bool | None:
    """Whether equal lengths in tokens cover equally many bytes of the same text; None where that is unknown.

    Without bytes, special tokens that contradict each other show that the tokenizers differ.
    """
    a, b = ours.curve(curve), theirs.curve(curve)
    common = np.intersect1d(a.lengths, b.lengths)
    sizes = [c.bytes[np.isin(c.lengths, common)] for c in (a, b) if c.bytes is not None]
    if len(common) == 0 or len(sizes) < 2 or not np.isfinite(sizes).all():
        return False if _contradict(ours.run.special_tokens, theirs.run.special_tokens) else None
    return bool(np.allclose(sizes[0], sizes[1], rtol=1e-9))


def refuse_tokens_without_bytes(ours: Results, theirs: Results, curve: str) -> None:
    """Refuse curves of tokenizers that are known to differ where no bytes make their lengths comparable.

    Raises:
        L2MError: naming the models, and whose results lack the bytes.
    """
    without = [r.run.label for r in (ours, theirs) if r.curve(curve).bytes is None]
    if without and same_tokenizer(ours, theirs, curve) is False:
        raise L2MError(
            f"tokenizer: {ours.run.label} and {theirs.run.label} have different tokenizers, and the results of "
            f"{' and '.join(without)} do not say how many bytes their lengths cover; measure again with a backend "
            "whose tokenizer is known, or compare 'bits_per_byte'"
        )


def _contradict(ours: Mapping[str, str], theirs: Mapping[str, str]) -> bool:
    """Whether one text has two identifiers, or one identifier two texts, in what two runs record."""
    ids = {number: text for text, number in theirs.items()}
    return any(
        theirs.get(text, number) != number or ids.get(number, text) != text for text, number in ours.items()
    )


def distinct_curves(results: Sequence[Results]) -> tuple[Results, ...]:
    """Results with bipartite curves, the newest of each measurement, with the state and verdict where a run has them.

    A run of l2m_condition repeats the curves of l2m_bipartite, of the same run or of saved results. The one that has
    its documents' records is kept, and what the other says of the state is put into it.
    """
    groups: dict[Any, list[Results]] = {}
    for one in latest([one for one in results if one.bipartite]):
        curves = tuple((c.name, tuple(c.mi.tolist())) for c in one.bipartite)
        groups.setdefault((one.run.backend, one.run.model, curves), []).append(one)
    found = []
    for members in groups.values():
        kept = next((one for one in members if one.documents is not None), members[0])
        checked = [one for one in members if _is_checked(one)]
        if checked and not _is_checked(kept):
            one = max(checked, key=lambda r: r.run.date.timestamp() if r.run.date else 0.0)
            found_there = {key: one.block.get(key) for key in ("state", "check", "capability", "reference")}
            curve = {"check_curve": one.settings.get("check_curve", "direct")}
            kept = replace(
                kept,
                verdict=one.verdict,
                block={**kept.block, **found_there},
                settings={**kept.settings, **curve},
            )
        found.append(kept)
    return tuple(found)


def _is_checked(one: Results) -> bool:
    return one.block.get("state") is not None or one.verdict is not None
