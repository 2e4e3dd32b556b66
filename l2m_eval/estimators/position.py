"""Loss against position: how much context improves the model's prediction, and the exponent of that.

nll_t = -mean_i log q(w_t | w_<t), t = 1 ... N, from one forward pass per document, gathered into bins whose lengths
double. Per bin the log-probabilities are summed, so a backend that gives sums between boundaries serves as well as
one that gives every token. Tokens of different tokenizers do not compare; bits per byte against bytes of context do.

If block entropies grow like H(n) = h n + A n^beta, then nll_t - h falls like t^(beta - 1): an estimate of beta that
is independent of the bipartite mutual information.

Source: arXiv 2503.04725.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Array, Integers
from l2m_eval.statistics.clusters import cluster_sums, linearised_error, ratio_of_sums
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.goodness import goodness_of_fit
from l2m_eval.statistics.intervals import widening
from l2m_eval.statistics.separable import lines, nearest_line

SLOPES = np.linspace(-3.0, -0.02, 299)  # beta - 1 where it is looked for


@dataclass(frozen=True)
class PositionBin:
    """Positions first ... last of a document, counted from 1, both included."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class PositionCurve:
    """Loss per bin; arrays have shape (bins,). NaN in a bin that no document reaches.

    Attributes:
        bins: The bins, in order.
        nll, standard_error: Mean loss in nats per token, and its error over clusters of documents.
        tokens: Tokens in the bin, of all documents.
        bits_per_byte, bits_per_byte_error: The same loss in bits per byte; NaN when bytes are not known.
        bytes_per_token: NaN when bytes are not known.
        byte_position: Mean place of the bin's middle, in bytes from the document's start; NaN when not known.
        overall, overall_bits_per_byte: Over all bins; errors over clusters.
        context_gain: Loss in the first half of the bins minus that in the last bin, nats per token. Its error is
            that of the difference within documents, much smaller than those of the two losses.
        documents, clusters: What the errors rest on.
        cluster_sums, cluster_tokens: Sum of log-probabilities and number of tokens per cluster, (clusters, bins).
    """

    bins: tuple[PositionBin, ...]
    nll: Array
    standard_error: Array
    tokens: Integers | Array
    bits_per_byte: Array
    bits_per_byte_error: Array
    bytes_per_token: Array
    byte_position: Array
    overall: Estimate
    overall_bits_per_byte: Estimate
    context_gain: Estimate
    documents: int
    clusters: int
    cluster_sums: Array
    cluster_tokens: Array


@dataclass(frozen=True)
class PositionFit:
    """nll(t) = entropy_rate + amplitude * t^(exponent - 1), nats per token.

    Attributes:
        entropy_rate, amplitude, exponent: h, B and beta; NaN where there is no fit, and `reason` says why.
            Errors are from the central spread of the resamples, NaN where so many have no minimum inside the range
            that it has no end; intervals are quantiles of the resamples, widened for few clusters, with an infinite
            end where the resamples do not bound it.
        bins: Names of the bins that were fitted.
        resamples, seed: Resamples of clusters that have a fit, and the seed they were drawn with.
        reason: Why there is no fit; empty when there is one.
        p_value: Small where the documents reject that the loss falls like this (`l2m_eval.statistics.goodness`); NaN
            where not known.
    """

    entropy_rate: Estimate
    amplitude: Estimate
    exponent: Estimate
    bins: tuple[str, ...]
    resamples: int
    seed: int
    reason: str = ""
    p_value: float = math.nan


def position_bins(longest: int) -> tuple[PositionBin, ...]:
    """Bins 1, 2-3, 4-7, 8-15, ... up to the longest position, named with zeros in front so that names sort.

    A last bin that would be less than half full joins the one before it: 8192 positions end in 4096-8192.
    """
    if isinstance(longest, bool) or not isinstance(longest, (int, np.integer)) or longest < 1:
        raise L2MError(
            f"positions: {longest!r} is not accepted; give the longest position as an integer from 1"
        )
    starts = [2**i for i in range(int(longest).bit_length())]
    if len(starts) > 2 and 2 * (longest - starts[-1] + 1) < starts[-1]:
        starts.pop()
    ends = [start - 1 for start in starts[1:]] + [int(longest)]
    width = max(4, len(str(longest)))
    return tuple(
        PositionBin(f"{a:0{width}d}" if a == b else f"{a:0{width}d}-{b:0{width}d}", a, b)
        for a, b in zip(starts, ends, strict=True)
    )


def sum_in_bins(values: ArrayLike, bins: tuple[PositionBin, ...]) -> tuple[Array, Integers]:
    """Sums (documents, bins) of values (documents, positions), and how many were there; NaN is not there."""
    array = np.asarray(values, dtype=np.float64)
    starts = [b.first - 1 for b in bins]
    present = np.isfinite(array)
    sums = np.add.reduceat(np.where(present, array, 0.0), starts, axis=1)
    return sums, np.add.reduceat(present, starts, axis=1, dtype=np.int64)


def per_position_nll(
    log_probabilities: ArrayLike, *, token_bytes: ArrayLike | None = None, clusters: ArrayLike | None = None
) -> PositionCurve:
    """The loss curve from per-token log-probabilities.

    Args:
        log_probabilities: log q(w_t | w_<t) in nats, shape (documents, positions); NaN after a document's end.
        token_bytes: UTF-8 bytes of each token, same shape; 0 or NaN after the end.
        clusters: Source document of each row, shape (documents,): chunks of one book are one cluster. None: every
            row is its own.

    Raises:
        L2MError: Wrong shapes, log-probabilities above zero or minus infinity, or no token at all.
    """
    values = np.asarray(log_probabilities, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise L2MError(
            f"log_probabilities: shape {values.shape} is not accepted; give (documents, positions)"
        )
    if np.isinf(values).any():
        raise L2MError(
            "log_probabilities: infinite ones are not accepted; give finite ones, NaN where no token is"
        )
    bins = position_bins(values.shape[1])
    sums, tokens = sum_in_bins(values, bins)
    byte_counts = None
    if token_bytes is not None:
        lengths = np.asarray(token_bytes, dtype=np.float64)
        if lengths.shape != values.shape:
            raise L2MError(
                f"token_bytes: shape {lengths.shape} is not accepted; give {values.shape}, as many as tokens"
            )
        byte_counts, _ = sum_in_bins(np.where(np.isnan(values), np.nan, lengths), bins)
    return per_position_nll_from_sums(sums, tokens, bins, byte_counts=byte_counts, clusters=clusters)


def per_position_nll_from_sums(
    sums: ArrayLike,
    tokens: ArrayLike,
    bins: tuple[PositionBin, ...],
    *,
    byte_counts: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
) -> PositionCurve:
    """The loss curve from sums of log-probabilities per bin.

    Args:
        sums: Sum of log q(w_t | w_<t) over the bin's tokens in nats, shape (documents, bins).
        tokens: Tokens of the document in the bin, same shape; 0 where the document does not reach.
        bins: What the columns are.
        byte_counts: UTF-8 bytes of the document in the bin, same shape.
        clusters: As in `per_position_nll`.

    Errors are those of a ratio of sums over clusters, to first order.

    Raises:
        L2MError: Wrong shapes, log-probabilities above zero, or no token at all.
    """
    log_sums, counts = np.asarray(sums, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    shape = (len(log_sums), len(bins))
    sizes = np.full(shape, np.nan) if byte_counts is None else np.asarray(byte_counts, dtype=np.float64)
    for name, array in (("sums", log_sums), ("tokens", counts), ("byte_counts", sizes)):
        if array.shape != shape:
            raise L2MError(
                f"{name}: shape {array.shape} is not accepted; give (documents, bins), here {shape}"
            )
    if not counts.sum() > 0:
        raise L2MError("log_probabilities: no token in them; give at least one document with one token")
    if (log_sums > 1e-3 * np.maximum(counts, 1)).any():  # rounding of a probability of one in low precision
        raise L2MError(
            f"log_probabilities: {log_sums.max():.3g} is not accepted; logarithms of probabilities are <= 0"
        )
    labels = np.arange(shape[0]) if clusters is None else np.asarray(clusters)
    if labels.shape != (shape[0],):
        raise L2MError(
            f"clusters: shape {labels.shape} is not accepted; give one label per document, {shape[0]}"
        )

    s, t, b = (cluster_sums(array, labels)[0] for array in (log_sums, counts, sizes))  # (clusters, bins)
    nll, residuals = ratio_of_sums(-s, t)
    bits, bit_residuals = ratio_of_sums(-s / math.log(2), b)
    first = max(len(bins) // 2, 1)
    early, late = (ratio_of_sums(-s[:, part].sum(1, keepdims=True), t[:, part].sum(1, keepdims=True))
                   for part in (slice(0, first), slice(-1, None)))  # fmt: skip
    all_tokens = ratio_of_sums(-s.sum(1, keepdims=True), t.sum(1, keepdims=True))
    all_bytes = ratio_of_sums(-s.sum(1, keepdims=True) / math.log(2), b.sum(1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        bytes_per_token = b.sum(axis=0) / t.sum(axis=0)
        middle = np.where(counts > 0, np.cumsum(sizes, axis=1) - sizes / 2, 0.0)  # (documents, bins)
        byte_position = middle.sum(axis=0) / (counts > 0).sum(axis=0)
    return PositionCurve(
        bins=tuple(bins),
        nll=nll,
        standard_error=linearised_error(residuals),
        tokens=t.sum(axis=0).astype(np.int64),
        bits_per_byte=bits,
        bits_per_byte_error=linearised_error(bit_residuals),
        bytes_per_token=bytes_per_token,
        byte_position=byte_position,
        overall=_with_interval(*all_tokens),
        overall_bits_per_byte=_with_interval(*all_bytes),
        context_gain=_with_interval(early[0] - late[0], early[1] - late[1]),
        documents=shape[0],
        clusters=len(s),
        cluster_sums=s,
        cluster_tokens=t,
    )


def fit_approach(
    curve: PositionCurve, *, from_position: int = 4, resamples: int = 500, seed: int = 0
) -> PositionFit:
    """Fit nll(t) = h + B t^(beta - 1) to the bins from a position on.

    A bin's prediction is the mean of t^(beta - 1) over its positions, not its value in the middle. Bins weigh by
    1 / standard_error^2. The first few tokens are left out: a model reads the prefix token as the start of a
    document and mispredicts what follows in a chunk from the middle of one. Intervals come from drawing clusters
    with replacement and refitting.
    """
    use = np.array([b.first >= from_position for b in curve.bins]) & np.isfinite(curve.nll)
    if use.sum() < 4:
        return _no_fit(seed, f"{use.sum()} bins from position {from_position} on; three parameters need 4")
    bins = [b for b, used in zip(curve.bins, use, strict=True) if used]
    positions = np.concatenate([np.arange(b.first, b.last + 1) for b in bins])
    edges = np.cumsum([0] + [b.last - b.first + 1 for b in bins[:-1]])
    sizes = np.array([b.last - b.first + 1 for b in bins])
    error = curve.standard_error[use]
    weights = 1 / error**2 if np.isfinite(error).all() and (error > 0).all() else np.ones(len(bins))

    def basis(slope: float) -> Array:
        return np.asarray(np.add.reduceat(positions**slope, edges) / sizes)

    grid = np.array([basis(slope) for slope in SLOPES])  # (slopes, bins)
    estimate = _least_squares(curve.nll[None, use], grid, weights)[0]
    if np.isnan(estimate).any():
        return _no_fit(
            seed, f"no least-squares minimum with an exponent inside {1 + SLOPES[0]:g} ... {1 + SLOPES[-1]:g}"
        )

    replicates, p_value = np.empty((0, 3)), math.nan
    if curve.clusters > 1:
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(curve.clusters, np.full(curve.clusters, 1 / curve.clusters), size=resamples)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = -(draws @ curve.cluster_sums[:, use]) / (draws @ curve.cluster_tokens[:, use])
        p_value = goodness_of_fit(
            curve.nll[use],
            1 / np.sqrt(weights),
            widening(curve.clusters) * (values - curve.nll[use]),
            lambda curves: nearest_line(curves, grid, weights),
        )
        # Resamples without a minimum inside the range lie beyond it, on one side or the other.
        replicates = _least_squares(values[np.isfinite(values).all(axis=1)], grid, weights, beyond=True)
    rate, amplitude, exponent = (
        Estimate.resampled(value, column, curve.clusters)
        for value, column in zip(estimate.tolist(), replicates.T, strict=True)
    )
    return PositionFit(
        rate,
        amplitude,
        exponent,
        bins=tuple(b.name for b in bins),
        resamples=int(np.isfinite(replicates).all(axis=1).sum()),
        seed=seed,
        p_value=p_value,
    )


def _least_squares(values: Array, grid: Array, weights: Array, *, beyond: bool = False) -> Array:
    """(h, B, beta) of each curve (curves, bins); NaN where the least sum of squares is at the range's edge.

    beyond: Say on which side instead. Towards a slope of 0 the curve is a logarithm, whose h and B lie at infinity;
    beyond the steepest slope only beta does.

    For a given slope the problem is a straight line in the basis. Between grid points the minimum is that of the
    parabola through three of them, and B and h are interpolated likewise.
    """
    rate, amplitude, explained = lines(values, grid, weights)
    best = explained.argmax(axis=1)
    inside = (best > 0) & (best < len(grid) - 1)
    at = np.clip(best, 1, len(grid) - 2)
    rows = np.arange(len(values))
    below, here, above = (explained[rows, at + k] for k in (-1, 0, 1))
    shift = 0.5 * (below - above) / (below - 2 * here + above)

    def refined(table: Array) -> Array:
        a, b, c = (table[rows, at + k] for k in (-1, 0, 1))
        return b + shift * (c - a) / 2 + shift**2 * (a - 2 * b + c) / 2

    beta = 1 + SLOPES[at] + shift * (SLOPES[1] - SLOPES[0])
    found = np.stack((refined(rate), refined(amplitude), beta), axis=1)
    found[~inside] = np.nan
    if beyond:
        edge = np.flatnonzero(~inside)
        flat, sign = best[edge] > 0, np.sign(amplitude[edge, best[edge]])
        found[edge, 0] = np.where(flat, -sign * np.inf, rate[edge, best[edge]])
        found[edge, 1] = np.where(flat, sign * np.inf, amplitude[edge, best[edge]])
        found[edge, 2] = np.where(flat, np.inf, -np.inf)
    return found


def _with_interval(value: Array, residuals: Array) -> Estimate:
    return Estimate.of_mean(float(value[0]), float(linearised_error(residuals)[0]), len(residuals))


def _no_fit(seed: int, reason: str) -> PositionFit:
    unknown = Estimate(math.nan)
    return PositionFit(unknown, unknown, unknown, (), 0, seed, reason)
