"""The L²M check on saved harness results: which law, which state, which curves are compared.

`l2m_eval.condition` has the checks themselves, on numbers. Here results become those numbers: `law_of`, `curve_of`,
`state_of`, and `check_results`, which is what ``l2m-eval check`` and a notebook call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_eval.condition import (
    PUBLISHED,
    MutualInformationCurve,
    ScalingLaw,
    SeriesMember,
    Verdict,
    check_mi_capability,
    check_model,
    check_series,
    published_law,
)
from l2m_eval.errors import L2MError
from l2m_eval.estimators.clusters import cluster_sums
from l2m_eval.history_state import HistoryState
from l2m_eval.results import Results, latest, load_results

Array = NDArray[np.float64]
Reference = ScalingLaw | Results

RESAMPLES = 1000
# Settings that decide what a curve means or which documents it rests on; two curves are compared where they agree.
_COMPARED = ("marginal", "correction", "control_variate", "partners")
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
_HOW_TO_STATE = (
    "name it with --state: a model's folder or config.json, a hub id, a formula or a file that states one"
)


@dataclass(frozen=True)
class Check:
    """A verdict with what it is about: whose results, which curve, and the reference's name ('' without one)."""

    verdict: Verdict
    model: str
    results: str
    curve: str
    reference: str

    def to_json(self) -> dict[str, Any]:
        """The verdict's schema with these fields beside it."""
        about = {
            "model": self.model,
            "results": self.results,
            "curve": self.curve,
            "reference": self.reference,
        }
        return {**self.verdict.to_json(), **about}


# --- the law ----------------------------------------------------------------------------------------------------


def corpus_name(results: Results) -> str:
    """The corpus as given, paths cut to their last two parts."""
    given = results.settings.get("corpus") or ()
    names = [given] if isinstance(given, str) else [str(part) for part in given]
    if names == ["process"]:
        return f"process {results.settings.get('process')}"
    short = ["/".join(PurePath(n).parts[-2:]) if not n.startswith("hub:") else n for n in names]
    return ", ".join(short[:3]) + (" ..." if len(short) > 3 else "")


def law_of(results: Results, curve: str = "direct") -> ScalingLaw:
    """The fitted law I = A·L^β of a curve, with its resamples where the documents' records are at hand.

    Raises:
        L2MError: no such curve, or one that no law could be fitted to.
    """
    saved = results.curve(curve)
    documents = results.sample.get("documents")
    of = f"{corpus_name(results)}, measured with {results.run.label}, {curve}"
    if documents:
        of += f", {documents} documents"
    if not (np.isfinite(saved.beta.value) and saved.amplitude.value > 0):
        raise L2MError(
            f"curve: no law could be fitted to {curve} of {str(results.run.path)!r} (points that are not positive: "
            f"{', '.join(map(str, saved.not_positive)) or 'none'}; {len(saved.lengths)} length(s)); measure more "
            "documents, or give another --reference"
        )
    error = saved.beta.standard_error
    recomputed = next(
        (c for c in results.recomputed_curves() or () if c.name == curve and c.estimate.clusters > 1), None
    )
    return ScalingLaw(
        saved.amplitude.value,
        saved.beta.value,
        of,
        exponent_interval=saved.beta.interval,
        amplitude_interval=saved.amplitude.interval,
        replicates=None if recomputed is None else recomputed.fit.replicates,
        ratio=float(saved.ratio),
        error=error if np.isfinite(error) else None,
        clusters=None if recomputed is None else recomputed.estimate.clusters,
    )


# --- the state --------------------------------------------------------------------------------------------------


def state_of(
    results: Results, curve: str = "direct", *, given: str = "", trust_remote_code: bool = False
) -> HistoryState:
    """The history state of the measured model.

    Args:
        results: Of a run; one of `l2m_condition` carries the state that was read from the model itself.
        curve: Whose lengths are asked for.
        given: What the user named instead, see `l2m_eval.history_state.sources`.
        trust_remote_code: For configurations.

    Raises:
        L2MError: the model named in the results is out of reach, or has no configuration.
    """
    from l2m_eval.history_state.sources import named_history_state

    saved = results.curve(curve)
    lengths = [max(1, int(length // saved.ratio)) for length in saved.lengths]
    if given:
        return named_history_state(given, lengths, trust_remote_code=trust_remote_code)
    run, stored = results.run, results.block.get("state")
    if stored is not None:
        return replace(HistoryState.from_json(stored), model=run.label)
    source = run.model_args.get("pretrained")
    if not source:
        raise L2MError(
            f"state: the results of {run.label} ({run.backend}) name no pretrained model to count it from; "
            + _HOW_TO_STATE
        )
    path = str(source)
    if run.model_args.get("subfolder"):
        path = f"{path}/{run.model_args['subfolder']}"
    try:
        return named_history_state(
            path, lengths, trust_remote_code=trust_remote_code, label=run.label, dtype=run.dtype
        )
    except L2MError as error:
        raise L2MError(
            f"state: that of {run.label} cannot be had from the model named in its results ({error}); {_HOW_TO_STATE}"
        ) from error


# --- curves against a reference ---------------------------------------------------------------------------------


def same_documents(ours: Results, theirs: Results) -> bool | None:
    """Whether both runs measured the same documents, as their logs say; None where neither log is there."""
    if ours.documents is not None and theirs.documents is not None:
        return bool(ours.documents.identity == theirs.documents.identity)
    if ours.task == theirs.task and ours.task_hash and theirs.task_hash:
        return ours.task_hash == theirs.task_hash
    return None


def same_tokenizer(ours: Results, theirs: Results, curve: str) -> bool | None:
    """Whether equal lengths in tokens cover equally many bytes of the same text; None where that is unknown."""
    a, b = ours.curve(curve), theirs.curve(curve)
    common = np.intersect1d(a.lengths, b.lengths)
    if a.bytes is None or b.bytes is None or len(common) == 0:
        return None
    sizes = [c.bytes[np.isin(c.lengths, common)] for c in (a, b) if c.bytes is not None]
    return bool(np.allclose(sizes[0], sizes[1], rtol=1e-9))


def curve_of(
    results: Results, curve: str, *, unit: str = "tokens", replicates: Array | None = None
) -> MutualInformationCurve:
    """A measured curve with what must agree for it to be compared with another.

    Raises:
        L2MError: no such curve, or lengths in bytes that were not kept.
    """
    saved = results.curve(curve)
    lengths = saved.lengths if unit == "tokens" else saved.bytes
    if lengths is None:
        raise L2MError(
            f"unit: the results of {results.run.label} do not say how many bytes the lengths cover; measure "
            "again, or give unit tokens"
        )
    settings = {
        "estimator": saved.estimator,
        "ratio": saved.ratio,
        **{name: results.settings.get(name) for name in _COMPARED},
    }
    return MutualInformationCurve(
        results.run.label,
        corpus_name(results),
        lengths,
        saved.mi,
        saved.standard_error,
        settings,
        unit,
        replicates,
        saved.clusters or None,
    )


def compare_with(ours: Results, theirs: Results, curve: str = "direct", *, unit: str = "auto") -> Verdict:
    """MI-capability (Definition 5.3) of one model against a stronger one on the same documents.

    Lengths are matched in tokens where the tokenizers cut the text alike, in bytes where they do not. Where both
    runs have their samples logs, documents are resampled for both at once, so that what the documents share cancels.

    Raises:
        L2MError: other documents or settings, as `check_mi_capability`.
    """
    same = same_documents(ours, theirs)
    if same is None:
        for name in _SAMPLED:
            _refuse_unequal(name, ours, theirs, *(r.settings.get(name) for r in (ours, theirs)))
        # How long a chunk must be decides where it lies.
        longest = [max(r.settings.get("lengths") or [0]) for r in (ours, theirs)]
        _refuse_unequal("longest length", ours, theirs, *longest)
        _refuse_unequal("documents", ours, theirs, *(r.sample.get("documents") for r in (ours, theirs)))
    elif not same:
        counts = [results.sample.get("documents") for results in (ours, theirs)]
        raise L2MError(
            f"corpus: {ours.run.label} ({corpus_name(ours)}, {counts[0]} documents) and the reference "
            f"{theirs.run.label} ({corpus_name(theirs)}, {counts[1]} documents) were not measured on the same "
            "documents; measure both with the same corpus, documents, lengths and seed"
        )
    if unit == "auto":
        unit = "bytes" if same_tokenizer(ours, theirs, curve) is False else "tokens"
    elif unit == "tokens" and same_tokenizer(ours, theirs, curve) is False:
        raise L2MError(
            f"unit: {ours.run.label} and {theirs.run.label} have different tokenizers, whose lengths in tokens do "
            "not compare; give unit bytes"
        )
    pair = _paired_replicates(ours, theirs, curve) if same else (None, None)
    a, b = (curve_of(r, curve, unit=unit, replicates=p) for r, p in zip((ours, theirs), pair, strict=True))
    # The documents are the same ones, whatever the paths to them were called.
    return check_mi_capability(a, replace(b, corpus=a.corpus) if same else b)


def _refuse_unequal(name: str, ours: Results, theirs: Results, a: Any, b: Any) -> None:
    if a != b:
        raise L2MError(
            f"{name}: {a!r} for {ours.run.label}, {b!r} for the reference {theirs.run.label}; measure both on the "
            "same documents"
        )


def _paired_replicates(ours: Results, theirs: Results, curve: str) -> tuple[Array | None, Array | None]:
    """Both curves of each resample of documents, (R, n) and (R, m); None without the documents' records."""
    terms = [results.bipartite_terms(curve) for results in (ours, theirs)]
    if terms[0] is None or terms[1] is None:
        return None, None
    clusters = terms[0][1]
    if clusters != terms[1][1]:
        return None, None
    sums = [cluster_sums(values, clusters)[0] for values in (terms[0][0], terms[1][0])]
    sizes = cluster_sums(terms[0][0], clusters)[1]
    count = len(sizes)
    if count < 2:
        return None, None
    rng = np.random.default_rng([ours.seed or 0, 0x726174696F])
    draws = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)  # (R, G)
    weights = (draws @ sizes)[:, None]
    return draws @ sums[0] / weights, draws @ sums[1] / weights


# --- the whole --------------------------------------------------------------------------------------------------


def reference_named(name: str, candidates: Sequence[Results] = (), curve: str = "direct") -> Reference:
    """A published law by its name, a model among the loaded results by its label, or results at a path.

    Raises:
        L2MError: nothing of the kind, or several.
    """
    if name in PUBLISHED:
        return published_law(name)
    labelled = [one for one in candidates if one.run.label == name]
    if not labelled:
        try:
            labelled = [one for one in load_results(name) if one.bipartite]
        except L2MError as error:
            if "there is no" not in str(error):
                raise
            labels = ", ".join(sorted({one.run.label for one in candidates}))
            raise L2MError(
                f"reference: {name!r} is no published law ({', '.join(PUBLISHED)}), none of the models checked "
                f"({labels}), and no results file or folder"
            ) from error
    return _the_one_with(labelled, curve, f"reference: {name!r}")


def results_to_check(name: str, curve: str = "direct") -> Results:
    """The one task of the results at a path that has this bipartite curve.

    Raises:
        L2MError: none, or several.
    """
    return _the_one_with(load_results(name), curve, f"results: {name!r}")


def distinct_curves(results: Sequence[Results]) -> tuple[Results, ...]:
    """Of results with bipartite curves the newest of each, every measurement once, with the model's state if known.

    A run of l2m_condition repeats the curves of l2m_bipartite, of the same run or of saved results. The one that has
    its documents' records is kept, and the state that the other carries is put into it.
    """
    groups: dict[Any, list[Results]] = {}
    for one in latest([one for one in results if one.bipartite]):
        curves = tuple((c.name, tuple(c.mi.tolist())) for c in one.bipartite)
        groups.setdefault((one.run.backend, one.run.model, curves), []).append(one)
    found = []
    for members in groups.values():
        kept = next((one for one in members if one.documents is not None), members[0])
        state = next((one.block["state"] for one in members if one.block.get("state") is not None), None)
        if state is not None and kept.block.get("state") is None:
            kept = replace(kept, block={**kept.block, "state": state})
        found.append(kept)
    return tuple(found)


def _the_one_with(found: Sequence[Results], curve: str, where: str) -> Results:
    with_curve = [one for one in distinct_curves(found) if any(c.name == curve for c in one.bipartite)]
    if len(with_curve) > 1:
        files = ", ".join(f"{str(one.run.path)!r} ({one.task})" for one in with_curve[:3])
        raise L2MError(f"{where} names {len(with_curve)} results with a curve {curve}; give one of {files}")
    if not with_curve:
        raise L2MError(f"{where} has no bipartite curve {curve}; give results of l2m_bipartite")
    return with_curve[0]


def check_results(
    results: Results,
    *,
    state: HistoryState | None = None,
    reference: Reference | None = None,
    curve: str = "direct",
    nats_per_element: float | None = None,
    unit: str = "auto",
    trust_remote_code: bool = False,
    only: str = "",
) -> tuple[Check, ...]:
    """Check one model's results: its state against the law, and its curve against a reference's.

    Args:
        results: Of a bipartite or condition task.
        state: Of the model; by default read from the results, or counted from the model that they name.
        reference: Whose law the state is judged by, and whose curve the model's is compared with. By default the
            model's own law.
        curve: Which estimator's.
        nats_per_element: A calibrated constant for the bound instead of the stored precision.
        unit: In which lengths of two curves are matched: ``tokens``, ``bytes``, or ``auto``.
        trust_remote_code: For configurations.
        only: ``state`` or ``capability`` for one of the two.

    Returns:
        The verdict on the state (Theorem 5.4), and with a reference's results that on MI-capability.

    Raises:
        L2MError: what is missing, in one line.
    """
    law = reference if isinstance(reference, ScalingLaw) else law_of(reference or results, curve)
    path = str(results.run.path) if results.run.path.name else ""
    about = {"model": results.run.label, "results": path, "curve": curve}
    named = law.of if isinstance(reference, ScalingLaw) else reference.run.label if reference else ""
    checks = []
    if only != "capability":
        state = state or state_of(results, curve, trust_remote_code=trust_remote_code)
        if state.model != results.run.label:
            state = replace(state, model=f"{results.run.label} ({state.model})")
        own = curve_of(results, curve)
        if own.settings["ratio"] != law.ratio:
            raise L2MError(
                f"curve: {curve} has ratio {own.settings['ratio']}, the law of {law.of} has {law.ratio:g}; give the "
                "curve of that ratio, or another reference"
            )
        verdict = check_model(state, law, nats_per_element=nats_per_element, curve=own)
        checks.append(Check(verdict, **about, reference=named))
    if only != "state" and isinstance(reference, Results) and reference is not results:
        checks.append(Check(compare_with(results, reference, curve, unit=unit), **about, reference=named))
    return tuple(checks)


def check_model_series(
    states: Mapping[str, HistoryState], lengths: Sequence[int], law: ScalingLaw, curve: str = "direct"
) -> Check:
    """Theorem 5.6 over models, each with the length it is meant for; the state is that after the left block.

    Raises:
        L2MError: as many lengths as models are needed, two of them different.
    """
    if len(states) != len(lengths):
        raise L2MError(
            f"series: {len(lengths)} length(s) for {len(states)} model(s); give one for each, in their order"
        )
    members = [
        SeriesMember(name, float(state.elements_at(max(1.0, length / law.ratio))), float(length))
        for (name, state), length in zip(states.items(), lengths, strict=True)
    ]
    return Check(check_series(members, law), ", ".join(states), "", curve, law.of)
