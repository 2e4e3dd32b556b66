"""The comparison section: paired differences and rankings of the models of a report."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.measurements.curves import BipartiteCurve, FittedPositionCurve
from l2m_eval.report.comparison import (
    PairedDifference,
    Standing,
    paired_difference,
    position_difference,
    standings,
)
from l2m_eval.report.contents import LabelledVerdict, Section
from l2m_eval.report.figures.curves import lengths_in
from l2m_eval.report.labelled import Shown, fitted
from l2m_eval.report.sections.condition import verdict_table
from l2m_eval.report.selection import Group, slug
from l2m_eval.report.tables import (
    Cell,
    Column,
    Table,
    estimate_cells,
    estimate_columns,
    lean,
    number,
    text,
    with_error,
)
from l2m_eval.results.check import compare_with
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.interpolation import error_at, value_at

_MOST_PAIRED = 6  # models that are all compared with each other; beyond, each with the first
_MOST_ROWS = 20  # of a table that is open from the start


def comparison_section(
    bipartite: Sequence[Group[BipartiteCurve]],
    position: Sequence[Group[FittedPositionCurve]],
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
    pairs: list[tuple[Cell, ...]] = []
    notices: list[str] = []
    rankings: list[Table] = []
    curves: list[Table] = []
    verdicts: list[LabelledVerdict] = []
    units = {g.corpus: g.unit for g in bipartite if g.unit == "bytes"}
    for group in bipartite:
        if len(group.curves) < 2 or (
            group.corpus in units and group.unit == "tokens" and "tokenizer" in group.name
        ):
            continue
        differences = _differences(group, notices)
        pairs += [row for d in differences for row in _pair_rows(group, d)]
        rankings += _bipartite_rankings(group, differences)
        if differences:
            curves.append(_difference_table(group, differences))
        if reference is not None and group.curves[0].curve.estimator == "direct":
            known = {v.label for v in checked if v.verdict.check == "mi-capability"}
            verdicts += _capability(group, reference, known, notices)
    for losses in position:
        if len(losses.curves) > 1:
            rankings.append(_position_ranking(losses, pairs, notices))
    if not rankings and not notices:
        return None
    return Section(
        "comparison",
        "Comparison of models",
        (
            "A model ranks above another only if the 95 % interval of their difference excludes zero; otherwise "
            "they share places. Differences on the same documents are paired: documents are resampled once for both.",
        ),
        tuple(dict.fromkeys(notices)),
        tuple(verdicts),
        tables=(*([_pairs_table(pairs)] if pairs else []), *curves),
        lead=(*([_keeping_up(verdicts, reference)] if verdicts else []), *rankings),
    )


def _keeping_up(verdicts: Sequence[LabelledVerdict], reference: str | None) -> Table:
    return verdict_table("verdicts-on-information", f"Do the models keep up with {reference}?", verdicts)


def _pair_rows(group: Group[BipartiteCurve], d: PairedDifference) -> list[tuple[Cell, ...]]:
    """The difference at the longest common length, and that of the exponents."""
    last = Estimate(
        float(d.difference[-1]), float(d.standard_error[-1]), (float(d.low[-1]), float(d.high[-1]))
    )
    of = f"I at L = {d.lengths[-1]:,.0f} {d.unit}, {d.curve} (nats)"
    rows = [_pair_row(group.where, d.first, d.second, of, last, float(d.unpaired_error[-1]))]
    if math.isfinite(d.beta.value):
        rows.append(_pair_row(group.where, d.first, d.second, f"β, {d.curve}", d.beta))
    return rows


def _pair_row(
    where: str, first: str, second: str, of: str, difference: Estimate, unpaired: float = math.nan
) -> tuple[Cell, ...]:
    low, high = difference.interval
    told = first if low > 0 else second if high < 0 else "neither"
    return (
        text(f"{first} − {second}"),
        text(where),
        text(of),
        *estimate_cells(difference),
        text(told if math.isfinite(low) and math.isfinite(high) else "–"),
        number(unpaired, f"{unpaired:.2g}"),
    )


def _pairs_table(rows: Sequence[tuple[Cell, ...]]) -> Table:
    columns = (
        Column("models"),
        Column("corpus"),
        Column("quantity"),
        *estimate_columns("difference"),
        Column("surely larger"),
        Column("error if not paired", number=True),
    )
    return Table(
        "paired-differences",
        "Paired differences of the first model's number minus the second's, on the same documents",
        lean(columns, rows),
        tuple(rows),
        folded=len(rows) > _MOST_ROWS,
    )


def _pairs(curves: Sequence[Shown[Any]]) -> list[tuple[Shown[Any], Shown[Any]]]:
    if len(curves) <= _MOST_PAIRED:
        return list(itertools.combinations(curves, 2))
    return [(curves[0], other) for other in curves[1:]]


def _differences(group: Group[BipartiteCurve], notices: list[str]) -> list[PairedDifference]:
    differences = []
    for first, second in _pairs(group.curves):
        try:
            seed = (first.results.seed if first.results is not None else 0) or 0
            at = ranked_length(group) if group.unit == "bytes" else None
            differences.append(paired_difference(first, second, unit=group.unit, at=at, seed=seed))
        except L2MError as error:
            notices.append(f"Not paired, on {group.corpus}: {error}.")
    return differences


def ranked_length(group: Group[BipartiteCurve]) -> float | None:
    """The longest length, in the group's unit, that all its curves have (in tokens) or cover (in bytes)."""
    lengths = [lengths_in(s.curve, s.label, group.unit) for s in group.curves]
    if group.unit == "bytes":
        return float(min(x[-1] for x in lengths))
    common = set.intersection(*(set(x.tolist()) for x in lengths))
    return max(common, default=None)


def _bipartite_rankings(group: Group[BipartiteCurve], differences: Sequence[PairedDifference]) -> list[Table]:
    """Rankings by I at the longest common length, and by β if lengths are tokens of one tokenizer."""
    curves, name = group.curves, group.curves[0].curve.name
    labels = [s.label for s in curves]
    tables = []
    length = ranked_length(group)
    if length is not None:
        at = np.array([length])
        estimates = []
        for s in curves:
            x = lengths_in(s.curve, s.label, group.unit)
            value = float(value_at(at, x, s.curve.mi)[0])
            error = float(error_at(at, x, s.curve.standard_error)[0])
            nearest = int(np.abs(x - length).argmin())
            estimates.append(Estimate.of_mean(value, error, s.curve.clusters_at(nearest)))
        paired = {
            (d.first, d.second): Estimate(
                float(d.difference[i]), float(d.standard_error[i]), (float(d.low[i]), float(d.high[i]))
            )
            for d in differences
            for i in np.flatnonzero(d.lengths == length)
        }
        caption = f"I at L = {length:,.0f} {group.unit}, {name}, on {group.where} (nats)"
        tables.append(_ranking(f"ranking-{group.name}", caption, standings(labels, estimates, paired)))
    betas = [fitted(s, "beta") for s in curves]
    if group.unit == "tokens" and all(np.isfinite([b.value, b.standard_error]).all() for b in betas):
        paired = {(d.first, d.second): d.beta for d in differences if np.isfinite(d.beta.interval).all()}
        caption = f"exponent β, {name}, on {group.where}"
        tables.append(_ranking(f"ranking-beta-{group.name}", caption, standings(labels, betas, paired)))
    return tables


def _ranking(name: str, caption: str, rows: Sequence[Standing]) -> Table:
    columns = (
        Column("place", number=True),
        Column("model"),
        *estimate_columns("value"),
        Column("worst place", number=True, shown=False),
    )
    cells = tuple(
        (number(row.best, row.place), text(row.label), *estimate_cells(row.estimate), number(row.worst))
        for row in rows
    )
    return Table(slug(name), f"Ranking: {caption}", lean(columns, cells), cells)


def _difference_table(group: Group[BipartiteCurve], differences: Sequence[PairedDifference]) -> Table:
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
        f"Paired differences, at every length, {group.curves[0].curve.name}, on {group.where} (nats)",
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


def _position_ranking(
    group: Group[FittedPositionCurve], pairs: list[tuple[Cell, ...]], notices: list[str]
) -> Table:
    per = "byte" if group.unit == "bytes" else "token"
    estimates, labels = [], []
    for s in group.curves:
        overall = s.curve.overall if per == "token" else s.curve.overall_bits_per_byte
        if np.isfinite(overall.value):
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
    pairs += [
        _pair_row(group.where, a, b, f"mean loss ({unit})", difference)
        for (a, b), difference in paired.items()
    ]
    return _ranking(f"ranking-{group.name}", f"mean loss on {group.where} ({unit}, less is better)", rows)


def _capability(
    group: Group[BipartiteCurve], reference: str, known: set[str], notices: list[str]
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
