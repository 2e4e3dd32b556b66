"""The comparison section: paired differences and rankings of the models of a report."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.report.comparison import (
    PairedDifference,
    Standing,
    paired_difference,
    position_difference,
    standings,
)
from l2m_eval.report.contents import LabelledVerdict, Section
from l2m_eval.report.figures import lengths_in
from l2m_eval.report.selection import Group, slug
from l2m_eval.report.shown import Shown, fitted, with_interval
from l2m_eval.report.tables import Column, Table, number, text, with_error
from l2m_eval.report.words import difference_sentence
from l2m_eval.saved_check import compare_with
from l2m_eval.saved_curves import Estimate, SavedBipartiteCurve, SavedPositionCurve

_MOST_PAIRED = 6  # models that are all compared with each other; beyond, each with the first


def comparison_section(
    bipartite: Sequence[Group[SavedBipartiteCurve]],
    position: Sequence[Group[SavedPositionCurve]],
    reference: str | None,
    checked: Sequence[LabelledVerdict] = (),
) -> Section | None:
    """Rankings and paired differences where a figure has two models or more; None where none has.

    Args:
        bipartite: Groups of curves.
        position: Groups of losses.
        reference: The model that the others are checked against (Definition 5.3).
        checked: Verdicts that the results carry already.
    """
    sentences: list[str] = []
    notices: list[str] = []
    tables: list[Table] = []
    verdicts: list[LabelledVerdict] = []
    units = {g.corpus: g.unit for g in bipartite if g.unit == "bytes"}
    for group in bipartite:
        if len(group.curves) < 2 or (
            group.corpus in units and group.unit == "tokens" and "tokenizer" in group.name
        ):
            continue
        differences = _differences(group, notices)
        sentences += [difference_sentence(d) for d in differences]
        tables += _bipartite_rankings(group, differences)
        if differences:
            tables.append(_difference_table(group, differences))
        if reference is not None and group.curves[0].curve.estimator == "direct":
            known = {v.label for v in checked if v.verdict.check == "mi-capability"}
            verdicts += _capability(group, reference, known, notices)
    for losses in position:
        if len(losses.curves) > 1:
            tables.append(_position_ranking(losses, sentences, notices))
    if not tables and not notices:
        return None
    return Section(
        "comparison",
        "Models against each other",
        (
            "A model is ahead of another only where the 95 % interval of their difference excludes zero; otherwise "
            "they share places. Differences on the same documents are paired: documents are resampled once for both.",
            *sentences,
        ),
        tuple(dict.fromkeys(notices)),
        tuple(verdicts),
        tables=tuple(tables),
    )


def _pairs(curves: Sequence[Shown[Any]]) -> list[tuple[Shown[Any], Shown[Any]]]:
    if len(curves) <= _MOST_PAIRED:
        return list(itertools.combinations(curves, 2))
    return [(curves[0], other) for other in curves[1:]]


def _differences(group: Group[SavedBipartiteCurve], notices: list[str]) -> list[PairedDifference]:
    differences = []
    for first, second in _pairs(group.curves):
        try:
            seed = (first.results.seed if first.results is not None else 0) or 0
            differences.append(paired_difference(first, second, unit=group.unit, seed=seed))
        except L2MError as error:
            notices.append(f"Not paired, on {group.corpus}: {error}.")
    return differences


def _bipartite_rankings(
    group: Group[SavedBipartiteCurve], differences: Sequence[PairedDifference]
) -> list[Table]:
    curves = group.curves
    tables = []
    if group.unit == "tokens":
        common = sorted(set.intersection(*(set(s.curve.lengths.tolist()) for s in curves)))
        if common:
            longest = common[-1]
            places = [int(np.flatnonzero(s.curve.lengths == longest)[0]) for s in curves]
            estimates = [
                with_interval(s.curve.mi[i], s.curve.standard_error[i], s.curve.clusters)
                for s, i in zip(curves, places, strict=True)
            ]
            paired = {
                (d.first, d.second): Estimate(
                    float(d.difference[i]), float(d.standard_error[i]), (float(d.low[i]), float(d.high[i]))
                )
                for d in differences
                for i in np.flatnonzero(d.lengths == longest)
            }
            rows = standings([s.label for s in curves], estimates, paired)
            tables.append(
                _ranking(
                    f"ranking-{group.name}",
                    f"I at L = {longest:,.0f} tokens, {curves[0].curve.name}, on {group.corpus} (nats)",
                    rows,
                )
            )
        betas = [fitted(s, "beta") for s in curves]
        if all(np.isfinite([b.value, b.standard_error]).all() for b in betas):
            paired = {(d.first, d.second): d.beta for d in differences if np.isfinite(d.beta.interval).all()}
            rows = standings([s.label for s in curves], betas, paired)
            caption = f"Exponent β, {curves[0].curve.name}, on {group.corpus}"
            tables.append(_ranking(f"ranking-beta-{group.name}", caption, rows))
        return tables
    # Different tokenizers: at the longest text, in bytes, that all of them cover.
    ends = [float(lengths_in(s.curve, s.label, "bytes")[-1]) for s in curves]
    end = min(ends)
    estimates = []
    for s in curves:
        x = lengths_in(s.curve, s.label, "bytes")
        at = np.interp(np.log(end), np.log(x), np.arange(len(x)))
        low, high = int(np.floor(at)), int(np.ceil(at))
        share = at - low
        value = (1 - share) * s.curve.mi[low] + share * s.curve.mi[high]
        error = (1 - share) * s.curve.standard_error[low] + share * s.curve.standard_error[high]
        estimates.append(with_interval(float(value), float(error), s.curve.clusters))
    rows = standings([s.label for s in curves], estimates)
    caption = f"I at L = {end:,.0f} bytes, {curves[0].curve.name}, on {group.corpus} (nats)"
    return [_ranking(f"ranking-{group.name}", caption, rows)]


def _ranking(name: str, caption: str, rows: Sequence[Standing]) -> Table:
    return Table(
        slug(name),
        f"Ranking: {caption}",
        (
            Column("place", number=True),
            Column("model"),
            Column("value", number=True),
            Column("from (95 %)", number=True),
            Column("to", number=True),
            Column("standard error", number=True, shown=False),
            Column("worst place", number=True, shown=False),
        ),
        tuple(
            (
                number(row.best, row.place),
                text(row.label),
                number(row.estimate.value, with_error(row.estimate.value, row.estimate.standard_error)),
                number(row.estimate.interval[0]),
                number(row.estimate.interval[1]),
                number(row.estimate.standard_error),
                number(row.worst),
            )
            for row in rows
        ),
    )


def _difference_table(group: Group[SavedBipartiteCurve], differences: Sequence[PairedDifference]) -> Table:
    rows = []
    for d in differences:
        for i, length in enumerate(d.lengths):
            rows.append(
                (
                    text(f"{d.first} − {d.second}"),
                    number(length, f"{length:,.0f}"),
                    number(d.difference[i], with_error(d.difference[i], d.standard_error[i])),
                    number(d.standard_error[i]),
                    number(d.low[i], f"{d.low[i]:.2f}"),
                    number(d.high[i], f"{d.high[i]:.2f}"),
                    number(d.unpaired_error[i], f"{d.unpaired_error[i]:.2g}"),
                )
            )
    return Table(
        f"differences-{group.name}",
        f"Paired differences, {group.curves[0].curve.name}, on {group.corpus} (nats)",
        (
            Column("models"),
            Column(f"L ({group.unit})", number=True),
            Column("difference", number=True),
            Column("standard error", number=True, shown=False),
            Column("from (95 %)", number=True),
            Column("to", number=True),
            Column("error if not paired", number=True),
        ),
        tuple(rows),
        folded=True,
    )


def _position_ranking(group: Group[SavedPositionCurve], sentences: list[str], notices: list[str]) -> Table:
    per = "byte" if group.unit == "bytes" else "token"
    estimates, labels = [], []
    for s in group.curves:
        overall = s.curve.overall if per == "token" else s.curve.overall_bits_per_byte
        if overall is not None and np.isfinite(overall.value):
            estimates.append(overall)
            labels.append(s.label)
    paired: dict[tuple[str, str], Estimate] = {}
    for first, second in _pairs([s for s in group.curves if s.label in labels]):
        try:
            seed = (first.results.seed if first.results is not None else 0) or 0
            paired[first.label, second.label] = position_difference(first, second, per=per, seed=seed)
        except L2MError as error:
            notices.append(f"Not paired, loss on {group.corpus}: {error}.")
    rows = standings(labels, estimates, paired, larger_is_better=False)
    unit = "nats per token" if per == "token" else "bits per byte"
    for (a, b), difference in paired.items():
        sentences.append(
            f"Mean loss of {a} minus that of {b} on the same documents: "
            f"{with_error(difference.value, difference.standard_error)} {unit} "
            f"(95 % interval {difference.interval[0]:.4f} to {difference.interval[1]:.4f})."
        )
    return _ranking(f"ranking-{group.name}", f"mean loss on {group.corpus} ({unit}, less is better)", rows)


def _capability(
    group: Group[SavedBipartiteCurve], reference: str, known: set[str], notices: list[str]
) -> list[LabelledVerdict]:
    """Definition 5.3: does each model keep up with the reference?"""
    strong = next((s for s in group.curves if s.label == reference), None)
    if strong is None:
        return []
    verdicts = []
    for s in group.curves:
        if s is strong or s.label in known:
            continue
        try:
            if s.results is None or strong.results is None:
                continue
            verdict = compare_with(s.results, strong.results, s.curve.name, unit=group.unit)
            verdicts.append(LabelledVerdict(s.label, verdict))
        except L2MError as error:
            notices.append(f"{s.label} against {reference}, on {group.corpus}: {error}.")
    return verdicts
