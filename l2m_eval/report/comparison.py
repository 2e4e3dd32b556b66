"""Comparison of models: paired differences on the same documents, and ranks that respect their errors.

Two curves over the same documents err together: a document that is easy for one model is easy for the other.
Resampling the documents once for both (a paired bootstrap) gives the error of their difference, which is smaller
than two separate errors suggest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.measurements.curves import BipartiteCurve, FittedPositionCurve
from l2m_eval.report.figures.curves import known_to_differ, lengths_in
from l2m_eval.report.labelled import Shown
from l2m_eval.results.comparable import same_documents
from l2m_eval.results.difference import PAIRED, Statistic, records_statistic
from l2m_eval.results.run import Results
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.clusters import MeanWithError
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.interpolation import error_at, value_at
from l2m_eval.statistics.paired import RESAMPLES, paired_resamples


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """How two curves over the same documents differ: first minus second.

    Attributes:
        first, second: Labels.
        curve: Which curve of the results.
        unit: Of the lengths.
        lengths: Shape (n,); in bytes those of the first, and the one asked for.
        difference, standard_error: Nats, shape (n,), from resampling documents once for both.
        low, high: 95 % interval, shape (n,).
        unpaired_error: What two separate errors would have said, shape (n,).
        beta: Difference of the exponents; NaN in bytes.
        clusters: Groups of documents that were resampled.
    """

    first: str
    second: str
    curve: str
    unit: str
    lengths: Array
    difference: Array
    standard_error: Array
    low: Array
    high: Array
    unpaired_error: Array
    beta: Estimate
    clusters: int


@dataclass(frozen=True)
class Standing:
    """One row of a ranking.

    Attributes:
        label: Who.
        estimate: What is ranked.
        best, worst: Between these places it stands: as many are surely ahead, surely behind.
    """

    label: str
    estimate: Estimate
    best: int
    worst: int

    @property
    def place(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best}–{self.worst}"


def paired_difference(
    first: Results | Shown[BipartiteCurve],
    second: Results | Shown[BipartiteCurve],
    *,
    name: str = "direct",
    unit: str = "tokens",
    at: float | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Difference of two bipartite curves over the same documents, by a paired bootstrap.

    Args:
        first: Results with their documents' records (runs with ``--log_samples``).
        second: The same.
        name: Which curve of the results.
        unit: ``tokens`` for one tokenizer; ``bytes`` for two, where curves are interpolated in log I against log
            bytes at the first one's lengths (lengths that one of them does not cover are left out).
        at: A further length in bytes.
        seed: Of the resamples.
        resamples: Their number.

    Raises:
        L2MError: no records, other documents, different tokenizers in tokens, no common length, fewer than two
            clusters.
    """
    if isinstance(first, Results):
        first = Shown(first.run.label, first.curve(name), 0, first)
    if isinstance(second, Results):
        second = Shown(second.run.label, second.curve(name), 1, second)
    ours, theirs = _terms_to_pair(first, second, unit)
    x, their_x = lengths_in(first.curve, first.label, unit), lengths_in(second.curve, second.label, unit)
    lengths = (
        np.intersect1d(x, their_x)
        if unit == "tokens"
        else np.unique(np.append(x, [] if at is None else [at]))
    )
    lengths = lengths[(lengths >= max(x[0], their_x[0])) & (lengths <= min(x[-1], their_x[-1]))]
    if not len(lengths):
        raise L2MError(f"lengths: {first.label} and {second.label} have no length in common")
    pair = paired_resamples(
        (ours.columns, ours.clusters),
        (theirs.columns, theirs.clusters),
        np.random.default_rng([seed, PAIRED]),
        resamples,
    )
    if pair is None:
        raise L2MError("documents: all of one source; a difference needs two groups of documents or more")
    (our_curves, our_errors), (their_curves, their_errors) = ours.split(pair.first), theirs.split(pair.second)
    replicates = value_at(lengths, x, our_curves) - value_at(lengths, their_x, their_curves)
    difference = value_at(lengths, x, first.curve.mi) - value_at(lengths, their_x, second.curve.mi)
    found = [
        Estimate.resampled(float(value), column, pair.clusters)
        for value, column in zip(difference, replicates.T, strict=True)
    ]
    beta = Estimate(first.curve.beta.value - second.curve.beta.value if unit == "tokens" else math.nan)
    if math.isfinite(beta.value):
        _, our_betas = first.curve.fit.again(first.curve.lengths, our_curves, our_errors)
        _, their_betas = second.curve.fit.again(second.curve.lengths, their_curves, their_errors)
        beta = Estimate.resampled(beta.value, our_betas - their_betas, pair.clusters)
    return PairedDifference(
        first.label,
        second.label,
        first.curve.name,
        unit,
        lengths,
        difference,
        np.array([estimate.standard_error for estimate in found]),
        np.array([estimate.interval[0] for estimate in found]),
        np.array([estimate.interval[1] for estimate in found]),
        np.hypot(
            error_at(lengths, x, first.curve.standard_error),
            error_at(lengths, their_x, second.curve.standard_error),
        ),
        beta,
        pair.clusters,
    )


def _terms_to_pair(
    first: Shown[BipartiteCurve], second: Shown[BipartiteCurve], unit: str
) -> tuple[MeanWithError, MeanWithError]:
    """Terms of both curves, of the same documents in the same order, or an error that says why there are none."""
    if first.results is None or second.results is None:
        raise L2MError("documents: curves without results cannot be paired; load them with load_results")
    found = []
    for s, results in ((first, first.results), (second, second.results)):
        drawn = results.resamples_of(s.curve.name)
        if drawn is None:
            raise L2MError(
                f"documents: {s.label} has no samples log beside its results; run lm_eval with --log_samples"
            )
        found.append(drawn.with_error())
    if not same_documents(first.results, second.results):
        raise L2MError(
            f"documents: {first.label} and {second.label} were measured on different documents; pairing needs the "
            "same corpus, documents and seed"
        )
    if unit == "tokens" and known_to_differ(first, second):
        raise L2MError(
            f"unit: {first.label} and {second.label} have different tokenizers, whose lengths in tokens cannot "
            "be compared; give unit bytes"
        )
    return found[0], found[1]


def position_difference(
    first: Shown[FittedPositionCurve],
    second: Shown[FittedPositionCurve],
    *,
    per: str = "token",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Difference of the mean losses of two models over the same documents, by a paired bootstrap.

    Args:
        first: With `results` that have their documents' records.
        second: The same.
        per: ``token`` in nats, ``byte`` in bits.
        seed: Of the resamples.
        resamples: Their number.

    Raises:
        L2MError: no records, other documents, fewer than two clusters.
    """
    if first.results is None or second.results is None or not same_documents(first.results, second.results):
        raise L2MError(
            f"documents: {first.label} and {second.label} have no common documents in their samples logs; pairing "
            "needs --log_samples and the same corpus, documents and seed"
        )
    name = "bits_per_byte" if per == "byte" else "nll"
    ours, theirs = (_losses(s, name) for s in (first, second))
    pair = paired_resamples(
        (ours.terms, ours.clusters),
        (theirs.terms, theirs.clusters),
        np.random.default_rng([seed, PAIRED]),
        resamples,
    )
    if pair is None:
        raise L2MError("documents: all of one source; a difference needs two groups of documents or more")
    value = ours.value(ours.terms.mean(axis=0)) - theirs.value(theirs.terms.mean(axis=0))
    return Estimate.resampled(float(value), ours.value(pair.first) - theirs.value(pair.second), pair.clusters)


def _losses(shown: Shown[FittedPositionCurve], name: str) -> Statistic:
    found = None if shown.results is None else records_statistic(shown.results, name)
    if found is None:
        raise L2MError(
            f"documents: {shown.label} has no samples log beside its results; run lm_eval with --log_samples"
        )
    return found


def standings(
    labels: Sequence[str],
    estimates: Sequence[Estimate],
    differences: dict[tuple[str, str], Estimate] | None = None,
    *,
    larger_is_better: bool = True,
) -> list[Standing]:
    """Ranks with ties: a model ranks above another only if the interval of their difference excludes zero.

    Args:
        labels: Who.
        estimates: Of each, with intervals.
        differences: Paired differences (first minus second) by labels, where there are any; else the intervals of
            two separate estimates are added in quadrature.
        larger_is_better: The direction.

    Returns:
        Best first; each with the places between which it stands.
    """
    sign = 1.0 if larger_is_better else -1.0
    known = differences or {}

    def ahead(i: int, j: int) -> bool:
        """Whether i is significantly better than j."""
        if (labels[i], labels[j]) in known:
            low, high = known[labels[i], labels[j]].interval
            return (low if larger_is_better else -high) > 0
        if (labels[j], labels[i]) in known:
            low, high = known[labels[j], labels[i]].interval
            return (-high if larger_is_better else low) > 0
        gap = sign * (estimates[i].value - estimates[j].value)
        # Each half of an interval is as wide as Student's t for its own documents makes it.
        near = estimates[i].value - estimates[i].interval[0 if larger_is_better else 1]
        far = estimates[j].interval[1 if larger_is_better else 0] - estimates[j].value
        reach = math.hypot(near, far)
        return math.isfinite(reach) and gap > reach

    count = len(labels)
    rows = [
        Standing(
            labels[i],
            estimates[i],
            1 + sum(ahead(j, i) for j in range(count) if j != i),
            count - sum(ahead(i, j) for j in range(count) if j != i),
        )
        for i in range(count)
    ]
    return sorted(rows, key=lambda row: (row.best, row.worst, -sign * row.estimate.value))
