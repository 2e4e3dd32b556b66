"""Models against each other: paired differences on the same documents, and ranks that respect their errors.

Two curves over the same documents err together: a document that is easy for one model is easy for the other.
Resampling the documents once for both (a paired bootstrap) gives the error of their difference, which is smaller
than two separate errors suggest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2m_eval.errors import L2MError
from l2m_eval.estimators.clusters import cluster_sums
from l2m_eval.estimators.intervals import resampled_error, resampled_interval
from l2m_eval.report.figures import known_to_differ, lengths_in, same_documents
from l2m_eval.report.shown import Shown
from l2m_eval.results import Results
from l2m_eval.saved_curves import Estimate, SavedBipartiteCurve, SavedPositionCurve
from l2m_eval.scaling import fit_power_law

Array = NDArray[np.float64]
RESAMPLES = 1000
_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """How two curves over the same documents differ: first minus second.

    Attributes:
        first, second: Labels.
        curve: Which curve of the results.
        unit: Of the lengths.
        lengths: Shape (n,); in bytes those of the first.
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
    first: Results | Shown[SavedBipartiteCurve],
    second: Results | Shown[SavedBipartiteCurve],
    *,
    name: str = "direct",
    unit: str = "tokens",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Difference of two bipartite curves over the same documents, by a paired bootstrap.

    Args:
        first: Results with their documents' records (runs with ``--log_samples``).
        second: The same.
        name: Which curve of the results.
        unit: ``tokens`` for one tokenizer; ``bytes`` for two, where the second is interpolated in log I against
            log bytes at the first one's lengths (lengths outside its range are left out).
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
    if first.results is None or second.results is None:
        raise L2MError("documents: curves without results cannot be paired; load them with load_results")
    ours = first.results.bipartite_terms(first.curve.name)
    theirs = second.results.bipartite_terms(second.curve.name)
    for s, terms in ((first, ours), (second, theirs)):
        if terms is None:
            raise L2MError(
                f"documents: {s.label} has no samples log beside its results; run lm_eval with --log_samples"
            )
    assert ours is not None
    assert theirs is not None
    if not same_documents(first.results, second.results):
        raise L2MError(
            f"documents: {first.label} and {second.label} were measured on different documents; pairing needs the "
            "same corpus, documents and seed"
        )
    if unit == "tokens" and known_to_differ(first, second):
        raise L2MError(
            f"unit: {first.label} and {second.label} have different tokenizers, whose lengths in tokens do not "
            "compare; give unit bytes"
        )
    x, their_x = lengths_in(first.curve, first.label, unit), lengths_in(second.curve, second.label, unit)
    if unit == "tokens":
        keep = np.isin(x, their_x)
        columns = np.searchsorted(their_x, x[keep]).astype(float)
    else:
        keep = (x >= their_x[0]) & (x <= their_x[-1])
        columns = np.interp(np.log(x[keep]), np.log(their_x), np.arange(len(their_x)))
    if not keep.any():
        raise L2MError(f"lengths: {first.label} and {second.label} have no length in common")
    clusters = ours[1] if len(set(map(str, ours[1]))) <= len(set(map(str, theirs[1]))) else theirs[1]
    our_sums, sizes = cluster_sums(ours[0], clusters)
    their_sums, _ = cluster_sums(theirs[0], clusters)
    count = len(sizes)
    if count < 2:
        raise L2MError("documents: all of one source; a difference needs two groups of documents or more")
    rng = np.random.default_rng([seed, 0x70616972])
    draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)  # (R, G)
    weights = (draws @ sizes)[:, None]
    our_curves, their_curves = draws @ our_sums / weights, draws @ their_sums / weights  # (R, K)
    replicates: Array = our_curves[:, keep] - _at(np.asarray(their_curves), columns)
    difference = first.curve.mi[keep] - _at(second.curve.mi[None], columns)[0]
    found = [
        _resampled(float(value), column, count)
        for value, column in zip(difference, replicates.T, strict=True)
    ]
    beta = Estimate(math.nan)
    if unit == "tokens":
        beta = _exponent_difference(first, second, our_curves, their_curves, count)
    return PairedDifference(
        first.label,
        second.label,
        first.curve.name,
        unit,
        x[keep],
        difference,
        np.array([estimate.standard_error for estimate in found]),
        np.array([estimate.interval[0] for estimate in found]),
        np.array([estimate.interval[1] for estimate in found]),
        np.hypot(first.curve.standard_error[keep], _at(second.curve.standard_error[None], columns)[0]),
        beta,
        count,
    )


def _at(curves: Array, columns: Array) -> Array:
    """Curves (R, K) at whole or fractional columns (n,): straight lines between logarithms, where there are any."""
    lower = np.floor(columns).astype(int)
    upper = np.ceil(columns).astype(int)
    share = columns - lower
    low, high = curves[:, lower], curves[:, upper]
    with np.errstate(divide="ignore", invalid="ignore"):
        mixed = np.exp((1 - share) * np.log(low) + share * np.log(high))
    straight = (1 - share) * low + share * high
    return np.where(share == 0, low, np.where((low > 0) & (high > 0), mixed, straight))


def _exponent_difference(
    first: Shown[SavedBipartiteCurve],
    second: Shown[SavedBipartiteCurve],
    our_curves: Array,
    their_curves: Array,
    clusters: int,
) -> Estimate:
    value = first.curve.beta.value - second.curve.beta.value
    exponents = [
        fit_power_law(s.curve.lengths, curves, s.curve.standard_error, s.curve.fit or "auto")[1]
        for s, curves in ((first, our_curves), (second, their_curves))
    ]
    return (
        _resampled(value, exponents[0] - exponents[1], clusters) if math.isfinite(value) else Estimate(value)
    )


def _resampled(value: float, replicates: Array, clusters: int) -> Estimate:
    """An estimate with the error and the 95 % interval that its resamples give."""
    return Estimate(
        value, resampled_error(replicates, clusters), resampled_interval(replicates, value, clusters)
    )


def position_difference(
    first: Shown[SavedPositionCurve],
    second: Shown[SavedPositionCurve],
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
    parts = []
    for s in (first, second):
        assert s.results is not None
        assert s.results.documents is not None
        parts.append([_loss_and_size(record, per) for record in s.results.documents.records])
    documents = first.results.documents
    assert documents is not None
    clusters = [doc["source"] for doc in documents.docs]
    sums, sizes = cluster_sums(np.concatenate([np.array(parts[0]), np.array(parts[1])], axis=1), clusters)
    count = len(sizes)
    if count < 2:
        raise L2MError("documents: all of one source; a difference needs two groups of documents or more")
    rng = np.random.default_rng([seed, 0x70616972])
    draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
    value = float(_ratio_difference(sums.sum(axis=0)[None])[0])
    return _resampled(value, _ratio_difference(draws @ sums), count)


def _loss_and_size(record: object, per: str) -> tuple[float, float]:
    assert isinstance(record, dict)
    loss = -float(np.sum(record["sums"]))
    if per == "byte":
        return loss / math.log(2), float(np.sum(record["bytes"]))
    return loss, float(record["ends"][-1])


def _ratio_difference(sums: Array) -> Array:
    """From (R, 4), loss and size of the first and of the second, the difference of the two means, (R,)."""
    difference: Array = sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
    return difference


def standings(
    labels: Sequence[str],
    estimates: Sequence[Estimate],
    differences: dict[tuple[str, str], Estimate] | None = None,
    *,
    larger_is_better: bool = True,
) -> list[Standing]:
    """Ranks with ties: a model is ahead of another only where the interval of their difference excludes zero.

    Args:
        labels: Who.
        estimates: Of each, with standard errors.
        differences: Paired differences (first minus second) by labels, where there are any; else the errors of
            two separate estimates are added in quadrature.
        larger_is_better: The direction.

    Returns:
        Best first; each with the places between which it stands.
    """
    sign = 1.0 if larger_is_better else -1.0
    known = differences or {}

    def ahead(i: int, j: int) -> bool:
        """Whether i is surely better than j."""
        if (labels[i], labels[j]) in known:
            low, high = known[labels[i], labels[j]].interval
            return (low if larger_is_better else -high) > 0
        if (labels[j], labels[i]) in known:
            low, high = known[labels[j], labels[i]].interval
            return (-high if larger_is_better else low) > 0
        gap = sign * (estimates[i].value - estimates[j].value)
        error = math.hypot(estimates[i].standard_error, estimates[j].standard_error)
        return math.isfinite(error) and gap > _NORMAL_95 * error

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
