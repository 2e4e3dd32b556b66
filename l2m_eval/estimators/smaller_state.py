"""What a smaller state keeps of the information between a text x and what follows it, y.

With the whole state a model gives I = E[log q(y|x) − log q(y)], with a smaller one I' = E[log q'(y|x) − log q(y)] of
the same documents and the same marginal. What is lost, I − I', is a mean of paired differences, in which the text's
own difficulty cancels; what is kept is I' / I. A state that misleads the model keeps less than nothing.

Ways of one family differ in one amount, tokens or bits. The *needed* amount is the smallest from which on a share
is kept, interpolated between the amounts measured; an empty state keeps nothing, the whole one all. How it grows
with the length is its exponent δ: needed ∝ L^δ. The same in the bits of the state makes families comparable, and
gives what a bit of the state carries where information begins to be lost: the share of I over the bits needed.

Arrays have one row per document and one column per length; values are in nats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.estimators.bipartite import clustered_mean
from l2m_eval.estimators.retention import context_needed, needed_with_interval, shown_above_zero
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.clusters import cluster_sums, linearised_error, ratio_of_sums, resampled_curves
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.power_law import fit_power_law


@dataclass(frozen=True, eq=False)
class Kept:
    """What a smaller state keeps and loses, (lengths,).

    Attributes:
        kept, kept_error: I' / I; NaN where I is zero.
        lost, lost_error: I − I', nats.
    """

    kept: Array
    kept_error: Array
    lost: Array
    lost_error: Array


def kept_information(whole: ArrayLike, smaller: ArrayLike, clusters: ArrayLike) -> Kept:
    """Share kept and nats lost.

    Args:
        whole: Each document's log q(y|x) − log q(y) with the whole state, (documents, lengths).
        smaller: With the smaller one.
        clusters: Label of each document; documents of one cluster are not independent.
    """
    full, less = np.asarray(whole, float), np.asarray(smaller, float)
    kept, residuals = ratio_of_sums(cluster_sums(less, clusters)[0], cluster_sums(full, clusters)[0])
    lost = clustered_mean(full - less, clusters)
    return Kept(kept, linearised_error(residuals), lost.value, lost.standard_error)


@dataclass(frozen=True, eq=False)
class Needed:
    """How much of a family's amount a share of the information needs.

    Attributes:
        amounts: One for each length. NaN where the whole state is not shown to give any information; an interval
            never goes beyond the whole state.
        exponent: δ of needed ∝ L^δ; NaN with fewer than two lengths.
        sizes: The same in bits of the state; NaN where the sizes of states are not known.
        size_exponent: δ of the needed bits.
        densities: Nats that a bit of the needed state carries: the share of the information over `sizes`.
    """

    amounts: tuple[Estimate, ...]
    exponent: Estimate
    sizes: tuple[Estimate, ...]
    size_exponent: Estimate
    densities: tuple[Estimate, ...]

    @classmethod
    def unknown(cls, lengths: int) -> Needed:
        """Nothing is known at any of so many lengths."""
        nothing = Estimate(np.nan)
        return cls((nothing,) * lengths, nothing, (nothing,) * lengths, nothing, (nothing,) * lengths)


def needed_state(
    lengths: Sequence[int],
    whole: ArrayLike,
    smaller: Mapping[int, ArrayLike],
    whole_amounts: Sequence[float],
    clusters: ArrayLike,
    *,
    keep: float,
    rng: np.random.Generator,
    resamples: int = 1000,
    sizes: Mapping[int, ArrayLike] | None = None,
    whole_sizes: ArrayLike | None = None,
) -> Needed:
    """The smallest amount of a family that keeps a share of the information, for each length.

    Args:
        lengths: L, (lengths,).
        whole: Each document's term with the whole state, (documents, lengths), nats.
        smaller: By amount, the terms with the smaller states, (documents, lengths).
        whole_amounts: The amount that is the whole state, for each length.
        clusters: Label of each document.
        keep: The share, between 0 and 1.
        rng: Source of the resamples; all lengths are resampled together.
        resamples: Number of them.
        sizes: By amount, the bits of the smaller states, (lengths,); None where they are not known.
        whole_sizes: Bits of the whole state, (lengths,).
    """
    full = np.asarray(whole, float)
    unknown = np.full(len(lengths), np.nan)
    most_bits = unknown if whole_sizes is None else np.asarray(whole_sizes, float)
    amounts, bits, columns, starts = [], [], [], [0]
    for at, most in enumerate(whole_amounts):
        below = sorted(amount for amount in smaller if amount < most)
        amounts.append((0, *below, most))
        known = [np.asarray((sizes or {}).get(amount, unknown), float)[at] for amount in below]
        bits.append(np.array([_bits_of_nothing(below, known), *known, most_bits[at]]))
        columns += [np.zeros(len(full)), *(np.asarray(smaller[a], float)[:, at] for a in below), full[:, at]]
        starts.append(len(columns))
    terms = np.stack(columns, axis=1)  # (documents, all amounts of all lengths)
    sums, sizes_of_clusters = cluster_sums(terms, clusters)
    count = len(sizes_of_clusters)
    if count < 2:
        return Needed.unknown(len(lengths))
    curves = resampled_curves(sums, sizes_of_clusters, rng, resamples)
    means = clustered_mean(terms, clusters)
    one_each: dict[str, list[Estimate]] = {"amounts": [], "sizes": [], "densities": []}
    drawn: dict[str, list[Array]] = {"amounts": [], "sizes": []}
    for at, (points, start, end) in enumerate(zip(amounts, starts[:-1], starts[1:], strict=True)):
        curve, error = means.value[start:end], means.standard_error[end - 1]
        if not shown_above_zero(float(curve[-1]), float(error), count):
            for values in one_each.values():
                values.append(Estimate(np.nan))
            for replicates in drawn.values():
                replicates.append(np.full(resamples, np.nan))
            continue
        amount = needed_with_interval(points, curve, curves[:, start:end], keep, count)
        each = context_needed(points, curves[:, start:end], keep)
        # Where the whole state gives nothing, any part of it may be needed.
        each = np.where(np.isnan(each), whole_amounts[at], each)
        size, sizes_drawn = (np.interp(value, points, bits[at]) for value in (amount.value, each))
        one_each["amounts"].append(amount)
        one_each["sizes"].append(_on_a_logarithm(float(size), sizes_drawn, count))
        with np.errstate(divide="ignore", invalid="ignore"):  # nothing is carried by a state of no bits
            carried = keep * np.maximum(curves[:, end - 1], 0.0) / sizes_drawn
            density = float(keep * curve[-1] / size)
        one_each["densities"].append(_on_a_logarithm(density, carried, count))
        drawn["amounts"].append(each)
        drawn["sizes"].append(sizes_drawn)
    return Needed(
        tuple(one_each["amounts"]),
        _exponent(lengths, one_each["amounts"], drawn["amounts"], count),
        tuple(one_each["sizes"]),
        _exponent(lengths, one_each["sizes"], drawn["sizes"], count),
        tuple(one_each["densities"]),
    )


def _bits_of_nothing(amounts: Sequence[int], bits: Sequence[float]) -> float:
    """What is left of a state with an amount of zero: scales, or states that this family does not touch."""
    if len(amounts) < 2:
        return 0.0
    slope = (bits[1] - bits[0]) / (amounts[1] - amounts[0])
    return float(np.maximum(bits[0] - slope * amounts[0], 0.0))


def _on_a_logarithm(value: float, replicates: Array, clusters: int) -> Estimate:
    """A positive quantity, whose error is nearly the same at any size on the logarithm's scale."""
    if not (np.isfinite(value) and value > 0):
        return Estimate(np.nan)
    with np.errstate(divide="ignore"):
        on_log = Estimate.resampled(float(np.log(value)), np.log(replicates), clusters)
    low, high = np.exp(on_log.interval).tolist()
    return Estimate(value, value * on_log.standard_error, (low, high))


def _exponent(
    lengths: Sequence[int], found: Sequence[Estimate], replicates: Sequence[Array], clusters: int
) -> Estimate:
    known = [at for at, one in enumerate(found) if np.isfinite(one.value) and one.value > 0]
    if len(known) < 2:
        return Estimate(np.nan)
    x = np.array([lengths[at] for at in known], float)
    value = fit_power_law(x, [found[at].value for at in known], method="loglog")[1][0]
    drawn = fit_power_law(x, np.stack([replicates[at] for at in known], axis=1), method="loglog")[1]
    return Estimate.resampled(float(value), drawn, clusters)
