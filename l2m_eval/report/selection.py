"""Selects which results are shown, their labels, and which of them share a figure.

Curves are overlaid when they mean the same: one corpus, one estimator, one ratio, one correction, and lengths in
a unit that is the same for all. What differs otherwise (documents, seed) is said beside the figure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from l2m_eval.measurements.context_use import ContextUse
from l2m_eval.measurements.curves import BipartiteCurve, FittedPositionCurve, FittedTwoPointCurve
from l2m_eval.measurements.kl import KLCurve
from l2m_eval.measurements.smaller_state import StateCurve
from l2m_eval.report.figures.curves import has_bytes, known_to_differ
from l2m_eval.report.labelled import Shown, unique_labels
from l2m_eval.results.comparable import corpus_in_words, same_documents
from l2m_eval.results.run import Results

T = TypeVar("T")
_SOURCE_SETTINGS = ("corpus", "column", "subset", "split", "process", "process_settings")
# What may differ between curves of one figure, and is then said.
_TOLD_SETTINGS = ("documents", "seed", "marginal", "control_variate", "fit")


@dataclass(frozen=True, eq=False)
class Selection:
    """The results of a report.

    Attributes:
        results: Shown, in the order given.
        left_out: Older results of the same model, task and corpus.
        labels: Of every result.
        numbers: The look of every label, the same in all figures.
    """

    results: tuple[Results, ...]
    left_out: tuple[Results, ...]
    labels: Mapping[Results, str]
    numbers: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Group(Generic[T]):
    """Curves that are drawn together.

    Attributes:
        name: For file names.
        corpus: What was measured on, in words.
        curves: At least one.
        unit: ``tokens``, or ``bytes`` where the tokenizers differ.
        notices: What a reader must know of the overlay.
        told: What tells it from other groups of its corpus, as the end of a title.
    """

    name: str
    corpus: str
    curves: tuple[Shown[T], ...]
    unit: str = "tokens"
    notices: tuple[str, ...] = field(default=())
    told: str = ""

    @property
    def where(self) -> str:
        """The corpus, and what tells the group from others of it: no two figures of one kind have one title."""
        return self.corpus + self.told


def select(results: Sequence[Results], *, every: bool = False) -> Selection:
    """The newest results of each model, task and corpus; all of them, told apart by date, where `every` is set."""
    newest: dict[str, Results] = {}
    left_out: list[Results] = []
    for one in sorted(results, key=_time):
        key = _key(one)
        if key in newest and not every:
            left_out.append(newest[key])
        newest[key if not every else f"{key} {len(newest)}"] = one
    kept = [one for one in results if one in set(newest.values())]
    labels = unique_labels(kept)
    if every:
        repeated: dict[str, list[Results]] = {}
        for one in kept:
            repeated.setdefault(_key(one), []).append(one)
        for runs in repeated.values():
            if len(runs) > 1:
                for number, one in enumerate(runs, 1):
                    when = one.run.date.strftime("%Y-%m-%d %H:%M:%S") if one.run.date else f"run {number}"
                    labels[one] = f"{labels[one]}, {when}"
    numbers: dict[str, int] = {}
    for one in kept:
        numbers.setdefault(labels[one], len(numbers))
    return Selection(tuple(kept), tuple(left_out), labels, numbers)


def bipartite_groups(selection: Selection) -> list[Group[BipartiteCurve]]:
    """Groups of bipartite curves; curves whose tokenizers differ share a figure in bytes, or none."""
    groups = []
    for corpus, members in _by_corpus(selection, lambda r: bool(r.bipartite)):
        names = list(dict.fromkeys(curve.name for one in members for curve in one.bipartite))
        for name in names:
            corrections = list(dict.fromkeys(one.settings.get("correction") or "none" for one in members))
            for correction in corrections:
                shown = _shown(
                    selection,
                    [one for one in members if (one.settings.get("correction") or "none") == correction],
                    lambda r, name=name: next((c for c in r.bipartite if c.name == name), None),  # type: ignore[misc]
                )
                marked = f"-{correction}" if len(corrections) > 1 else ""
                found = _by_tokenizer(f"bipartite-{name}{marked}", corpus, shown)
                told = f", correction {correction}" if marked else ""
                groups += [replace(group, told=told + group.told) for group in found]
    return _named_apart(groups)


def two_point_groups(selection: Selection) -> list[Group[FittedTwoPointCurve]]:
    """Groups of two-point curves."""
    groups = []
    for corpus, members in _by_corpus(selection, lambda r: bool(r.two_point)):
        for name in dict.fromkeys(curve.name for one in members for curve in one.two_point):
            shown = _shown(
                selection,
                members,
                lambda r, name=name: next((c for c in r.two_point if c.name == name), None),  # type: ignore[misc]
            )
            if shown:
                groups.append(Group(name.replace("_", "-"), corpus, tuple(shown), "tokens", _told(shown)))
    return _named_apart(groups)


def position_groups(selection: Selection) -> list[Group[FittedPositionCurve]]:
    """Groups of curves of loss by position; in bytes where the same documents have different numbers of bytes."""
    groups = []
    for corpus, members in _by_corpus(selection, lambda r: r.position is not None):
        shown = _shown(selection, members, lambda r: r.position)
        differ = any(_position_bytes_differ(shown[0], s) for s in shown[1:])
        unit = "bytes" if differ else "tokens"
        notices = _told(shown)
        if differ:
            notices = (
                "The models have different tokenizers; positions and losses are given in bytes.",
                *notices,
            )
        groups.append(Group("position-nll", corpus, tuple(shown), unit, notices))
    return _named_apart(groups)


def context_use_groups(selection: Selection) -> list[Group[ContextUse]]:
    """Groups of measurements of context use, by corpus."""
    return _of_one_corpus(selection, "context-use", lambda r: r.context_use)


def kl_groups(selection: Selection) -> list[Group[KLCurve]]:
    """Groups of divergences from a process, by corpus."""
    return _of_one_corpus(selection, "kl", lambda r: r.kl)


def state_groups(selection: Selection) -> list[Group[StateCurve]]:
    """Groups of measurements of smaller states, by corpus."""
    return _of_one_corpus(selection, "smaller-state", lambda r: r.state)


def _of_one_corpus(selection: Selection, name: str, curve: Callable[[Results], T | None]) -> list[Group[T]]:
    """Groups of results that have this curve, by corpus; lengths in tokens."""
    groups = []
    for corpus, members in _by_corpus(selection, lambda r: curve(r) is not None):
        shown = _shown(selection, members, curve)
        groups.append(Group(name, corpus, tuple(shown), "tokens", _told(shown)))
    return _named_apart(groups)


def slug(text: str) -> str:
    """Lower-case letters, digits and hyphens: safe as a file name and as an identifier."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "x"


# --- parts ------------------------------------------------------------------------------------------------------


def _time(one: Results) -> float:
    return one.run.date.timestamp() if one.run.date else float("-inf")


def _key(one: Results) -> str:
    source = {key: one.settings.get(key) for key in _SOURCE_SETTINGS}
    return json.dumps([one.run.backend, one.run.model_args, one.task, source], default=str, sort_keys=True)


def _by_corpus(selection: Selection, wanted: Callable[[Results], bool]) -> list[tuple[str, list[Results]]]:
    """Results by corpus. Files named by different paths are one corpus where their documents are the same."""
    found: list[tuple[str, list[Results]]] = []
    for one in selection.results:
        if not wanted(one):
            continue
        source = json.dumps([one.settings.get(key) for key in _SOURCE_SETTINGS], default=str)
        for key, members in found:
            if key == source or same_documents(one, members[0]):
                members.append(one)
                break
        else:
            found.append((source, [one]))
    return [(corpus_in_words(members[0]), members) for _, members in found]


def _shown(
    selection: Selection, members: Sequence[Results], pick: Callable[[Results], T | None]
) -> list[Shown[T]]:
    """One curve per label: where a model was measured by two tasks, the newer.

    A check that took its curves from other results only repeats them, without the documents' records.
    """
    newest: dict[str, Shown[T]] = {}
    for one in sorted(members, key=lambda r: (not r.block.get("results"), _time(r))):
        curve = pick(one)
        if curve is not None:
            label = selection.labels[one]
            newest[label] = Shown(label, curve, selection.numbers[label], one)
    return sorted(newest.values(), key=lambda s: s.number)


def _by_tokenizer(
    name: str, corpus: str, shown: Sequence[Shown[BipartiteCurve]]
) -> list[Group[BipartiteCurve]]:
    classes: list[list[Shown[BipartiteCurve]]] = []
    for s in shown:
        for members in classes:
            if not known_to_differ(members[0], s):
                members.append(s)
                break
        else:
            classes.append([s])
    groups = []
    without = [s.label for s in shown if not has_bytes(s)]
    apart: tuple[str, ...] = ()
    if len(classes) > 1 and without:
        apart = (
            f"The models have different tokenizers and share no figure, since the results of {', '.join(without)} do "
            "not say how many bytes their lengths cover.",
        )
    elif len(classes) > 1:
        notices = ("The models have different tokenizers; lengths are given in bytes of text.", *_told(shown))
        groups.append(Group(f"{name}-bytes", corpus, tuple(shown), "bytes", notices, ", by bytes"))
    for number, members in enumerate(classes, 1):
        marked = f"-tokenizer-{number}" if len(classes) > 1 else ""
        told = f", tokenizer of {members[0].label}" if marked else ""
        groups.append(Group(name + marked, corpus, tuple(members), "tokens", (*apart, *_told(members)), told))
    return groups


def _position_bytes_differ(first: Shown[FittedPositionCurve], second: Shown[FittedPositionCurve]) -> bool:
    import numpy as np

    ours, theirs = first.curve.byte_position, second.curve.byte_position
    if first.results is None or second.results is None or ours.shape != theirs.shape:
        return False
    known = np.isfinite(ours).all() and np.isfinite(theirs).all()
    return bool(
        known and same_documents(first.results, second.results) and not np.allclose(ours, theirs, rtol=1e-9)
    )


def _told(shown: Sequence[Shown[Any]]) -> tuple[str, ...]:
    notices = []
    for setting in _TOLD_SETTINGS:
        values = {s.label: s.results.settings.get(setting) for s in shown if s.results is not None}
        if setting == "documents":
            values = {s.label: s.results.sample.get("documents") for s in shown if s.results is not None}
        if len(set(map(str, values.values()))) > 1:
            told = ", ".join(f"{value} for {label}" for label, value in values.items())
            notices.append(f"These curves differ in {setting.replace('_', ' ')}: {told}.")
    return tuple(notices)


def _named_apart(groups: list[Group[T]]) -> list[Group[T]]:
    """Groups whose names are file names that differ; those of different documents under one name are numbered."""
    seen: dict[str, int] = {}
    titles: dict[tuple[str, str], int] = {}
    out = []
    for group in groups:
        name = slug(group.name)
        seen[name] = seen.get(name, 0) + 1
        title = (name, group.where)
        titles[title] = titles.get(title, 0) + 1
        told = group.told + (f" (documents no. {titles[title]})" if titles[title] > 1 else "")
        if seen[name] > 1:
            name = f"{name}-{seen[name]}"
        out.append(replace(group, name=name, told=told))
    return out
