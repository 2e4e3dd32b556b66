"""Does a curve grow beyond a point? Tests on per-document terms whose points rest on the same documents.

Each document's own growth is what is averaged, so what its points share cancels. The test of "no growth beyond the
point k" looks at the mean over k+1 … m minus the value at k, for every end m, and takes the largest Student's t: a
curve that grows and falls later on is seen to grow. Its distribution where nothing grows is taken from two sources,
and the larger p-value counts: Student's t with the documents' correlations between ends, exact for normal terms and
any number of clusters; and resampled clusters with a studentised statistic, which follows terms with a skewed
distribution.

Source of studentised resampling: P. Hall, *The Bootstrap and Edgeworth Expansion* (1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from l2m_eval.statistics.arrays import Array

Draws = Callable[[], Iterator[Array]]

LEVEL = 0.05  # of every test, and one minus the confidence of every bound
RESAMPLES = 1000
_DRAWS_AT_ONCE = 2**22  # resampled counts held in memory at once
_ROUNDING = 1e-9  # of the largest value of a curve: growth below it is rounding


@dataclass(frozen=True)
class Growth:
    """What a curve gains beyond one measured length.

    Attributes:
        length: L_k, in tokens.
        until: L_m: the last of the longer lengths whose mean is compared with the value at L_k; of all ends the one
            with the clearest growth.
        value, standard_error: Mean over L_k+1 … L_m minus the value at L_k, nats.
        p_value: Of "no growth beyond L_k".
    """

    length: int
    until: int
    value: float
    standard_error: float
    p_value: float


@dataclass(frozen=True)
class Gain:
    """What one step of the curve adds, nats; `per_doubling` is NaN for a step from zero tokens."""

    start: int
    end: int
    value: float
    standard_error: float
    per_doubling: float
    per_doubling_error: float


@dataclass(frozen=True, eq=False)
class Contrasts:
    """Means of several differences over documents, by clusters.

    Attributes:
        sums, sizes: Of each cluster, (clusters, contrasts); sizes are numbers of documents that have the difference.
        mean, error: Over all documents, and its linearised standard error, (contrasts,).
        residuals: What each cluster adds to the mean's deviation, (clusters, contrasts).
    """

    sums: Array
    sizes: Array
    mean: Array
    error: Array
    residuals: Array


def contrasts(differences: Array, labels: NDArray[np.intp]) -> Contrasts:
    present = np.isfinite(differences)
    count = int(labels.max()) + 1
    sums = np.zeros((count, differences.shape[1]))
    sizes = np.zeros_like(sums)
    np.add.at(sums, labels, np.where(present, differences, 0.0))
    np.add.at(sizes, labels, present)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums.sum(axis=0) / sizes.sum(axis=0)
        residuals = (sums - sizes * mean) / sizes.sum(axis=0)
        used = (sizes > 0).sum(axis=0)
        error = np.sqrt(used / (used - 1.0) * (residuals**2).sum(axis=0))
    return Contrasts(sums, sizes, mean, error, residuals)


def _differences(values: Array, k: int) -> Array:
    """Mean over the points k+1 … m minus the point k, for every m, (documents, ends)."""
    later = np.cumsum(values[:, k + 1 :], axis=1) / np.arange(1, values.shape[1] - k)
    return np.asarray(later - values[:, k : k + 1])


def growth_beyond(
    lengths: NDArray[Any],
    values: Array,
    labels: NDArray[np.intp],
    k: int,
    rng: np.random.Generator,
    draws: Draws,
) -> Growth:
    found = contrasts(_differences(values, k), labels)
    rounding = _ROUNDING * float(np.nanmax(np.abs(values)))
    certain = ~(found.error > rounding)  # no scatter between documents: larger or not, without a doubt
    if certain.any():
        best = int(np.nanargmax(np.where(certain, found.mean, -np.inf)))
        if found.mean[best] > rounding or certain.all():
            p = 0.0 if found.mean[best] > rounding else 1.0
            return Growth(
                int(lengths[k]), int(lengths[k + 1 + best]), float(found.mean[best]), float(found.error[best]), p
            )  # fmt: skip
    open_ends = np.flatnonzero(~certain)
    t = found.mean[open_ends] / found.error[open_ends]
    best = int(open_ends[t.argmax()])
    tests = Contrasts(
        found.sums[:, open_ends],
        found.sizes[:, open_ends],
        found.mean[open_ends],
        found.error[open_ends],
        found.residuals[:, open_ends],
    )
    nulls = (_normal_maxima(tests, rng), _resampled_maxima(tests, draws))
    p = max((1 + float((null >= t.max()).sum())) / (1 + len(null)) for null in nulls)
    return Growth(
        int(lengths[k]), int(lengths[k + 1 + best]), float(found.mean[best]), float(found.error[best]), p
    )


def _normal_maxima(found: Contrasts, rng: np.random.Generator) -> Array:
    """Largest of several correlated Student's t without growth, (resamples,)."""
    correlated = found.residuals / np.linalg.norm(found.residuals, axis=0)  # (clusters, ends)
    values, vectors = np.linalg.eigh(correlated.T @ correlated)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normal = rng.normal(size=(RESAMPLES, len(root))) @ root.T
    freedom = int((found.sizes > 0).sum(axis=0).min()) - 1
    spread = np.sqrt(rng.chisquare(freedom, size=(RESAMPLES, 1)) / freedom)
    return np.asarray((normal / spread).max(axis=1))


def resampled_draws(count: int, rng: np.random.Generator, strata: Sequence[Any] | None = None) -> Draws:
    """The same resamples of `count` clusters each time: how often each is drawn, blocks of (resamples, clusters).

    Args:
        count: Number of clusters.
        rng: Source of the draws.
        strata: Label of each cluster, by the points that it has: clusters are then drawn from those of equal label,
            so that each point rests on as many in every draw.
    """
    seed = int(rng.integers(2**63))
    rows = max(1, _DRAWS_AT_ONCE // count)
    labels = np.zeros(count, int) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    members = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]

    def blocks() -> Iterator[Array]:
        own = np.random.default_rng(seed)
        for start in range(0, RESAMPLES, rows):
            size = min(rows, RESAMPLES - start)
            drawn = np.empty((size, count))
            for alike in members:
                drawn[:, alike] = own.multinomial(len(alike), np.full(len(alike), 1 / len(alike)), size=size)
            yield drawn

    if rows < RESAMPLES:
        return blocks  # drawn anew rather than held in memory
    kept = list(blocks())
    return lambda: iter(kept)


def _resampled_maxima(found: Contrasts, draws: Draws) -> Array:
    """Largest studentised deviation of resampled clusters, (resamples,)."""
    return np.concatenate([t.max(axis=1) for t in _studentised(found, draws)])


def _studentised(found: Contrasts, draws: Draws) -> list[Array]:
    """(Mean of resampled clusters − mean) / its own standard error, blocks of (resamples, contrasts).

    Where all drawn clusters are the same one there is no error; such a draw counts as infinitely far on both sides.
    """
    count = (found.sizes > 0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        sums = found.sums - found.sizes * found.mean  # about the mean, whose rounding would pass for scatter
    products = (sums**2, sums * found.sizes, found.sizes**2)
    blocks = []
    for drawn in draws():  # (R, G)
        size = drawn @ found.sizes
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (drawn @ sums) / size
            squares, mixed, sizes = (drawn @ product for product in products)
            variance = squares - 2 * mean * mixed + mean**2 * sizes
            error = np.sqrt(np.maximum(count / (count - 1) * variance, 0.0)) / size
            t = mean / error
        # Squares round by 1e-16, so that an error of zero comes out as some 1e-8.
        blocks.append(np.where(error > 1e-6 * found.error, t, np.inf))
    return blocks


def most_growth(values: Array, labels: NDArray[np.intp], at: int, draws: Draws) -> float:
    """One-sided upper bound of the growth beyond the point `at`, over all later points together, nats."""
    found = contrasts(values[:, at + 1 :].mean(axis=1, keepdims=True) - values[:, at : at + 1], labels)
    count = int((found.sizes > 0).sum())
    normal = float(stats.t.ppf(1 - LEVEL, count - 1))
    below = np.concatenate([block[:, 0] for block in _studentised(found, draws)])
    # The upper end of a studentised interval comes from the lower tail of t.
    below = np.where(np.isfinite(below), below, -np.inf)
    resampled = -float(np.quantile(below, LEVEL, method="inverted_cdf"))
    reach = max(normal, resampled) if math.isfinite(resampled) else normal
    return max(0.0, float(found.mean[0] + reach * found.error[0]))


def gain_of_step(lengths: NDArray[Any], values: Array, labels: NDArray[np.intp], k: int) -> Gain:
    found = contrasts(values[:, k + 1 : k + 2] - values[:, k : k + 1], labels)
    start, end = int(lengths[k]), int(lengths[k + 1])
    doublings = math.log2(end / start) if start > 0 else math.nan
    value, error = float(found.mean[0]), float(found.error[0])
    return Gain(start, end, value, error, value / doublings, error / doublings)
