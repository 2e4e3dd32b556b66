"""Power laws fitted to curves whose points come from the same documents.

The points of a mutual-information curve share their documents and are strongly correlated, so intervals come
from resampling documents (clusters of them) and refitting, never from treating points as independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.clusters import MeanWithError
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.intervals import resampled_error, resampled_interval
from l2m_eval.statistics.separable import scaled

# Exponents that the search of the weighted fit covers; real curves lie between 0 and 1.
_EXPONENTS = np.linspace(-3.0, 4.0, 281)
_FEWEST = 3  # points of a range that is asked for, and of the upper half of one
_UNKNOWN = Estimate(math.nan)


@dataclass(frozen=True)
class PowerLaw:
    """I(L) = amplitude · L^exponent, with the uncertainty that resampling documents gives.

    Attributes:
        amplitude: In nats at L = 1; L is the *total* length. For the same law in the left block's length
            multiply by ratio^exponent.
        exponent: β. Both with errors from the resamples (NaN with fewer than two clusters) and intervals that are
            their quantiles, widened as Student's t is for the number of clusters.
        method: ``"loglog"``, ``"wls"`` or ``"weighted"``, see `fit_power_law`.
        points: Number of points the fit rests on.
        clusters: Number of clusters of documents behind the intervals.
        not_positive: Lengths whose estimate is not positive, which have no logarithm.
        replicates: Amplitude and exponent of each resample, shape (resamples, 2).
        within: First and last length that the fit may use.
        upper: Exponent of the same fit to the upper half of its points; NaN with fewer than five.
        bend: `upper` minus the exponent, from the same resamples: zero where it is a power law up to the end.
    """

    amplitude: Estimate
    exponent: Estimate
    method: str
    points: int
    clusters: int
    not_positive: tuple[int, ...]
    replicates: Array
    within: tuple[float, float] = (0.0, math.inf)
    upper: Estimate = _UNKNOWN
    bend: Estimate = _UNKNOWN

    def again(self, lengths: ArrayLike, values: ArrayLike, errors: ArrayLike | None) -> tuple[Array, Array]:
        """Amplitude and exponent of the same fit, in the same range, to other curves: see `fit_power_law`."""
        x, y = np.asarray(lengths, float), np.asarray(values, float)
        inside = _inside(x, self.within)
        spread = None if errors is None else np.asarray(errors, float)[..., inside]
        return fit_power_law(x[inside], y[..., inside], spread, self.method or "auto")[:2]


def fit_power_law(
    lengths: ArrayLike, values: ArrayLike, errors: ArrayLike | None = None, method: str = "auto"
) -> tuple[Array, Array, str]:
    """Fit ``values = A · lengths^β``, one curve or many at once.

    Args:
        lengths: Shape (points,), positive.
        values: Shape (points,) or (curves, points), nats.
        errors: Standard errors of the points, shape (points,), or (curves, points) where curves have their own: the
            weights of ``wls``. Equal weights when None, and for a curve with one that is not positive.
        method: ``"loglog"``, ordinary least squares of log I on log L, as published; it has no place for a point
            that is not positive, so a curve with one gives NaN. ``"wls"``, least squares of I itself weighted by
            1/error². ``"auto"``, each curve by loglog if all its points are positive, else by wls.
            ``"weighted"``, as wls with errors smoothed over the lengths (`smoothed_errors`): that of few documents
            are themselves uncertain, and a point that happens to have a small one would decide the fit. Of the
            methods it has the smallest spread and bias on known processes (docs/validation_fits.md). Without
            errors, or with one that is not positive, it is ``"auto"``.

    Returns:
        Amplitude and exponent of each curve, and the method of the first curve.
    """
    x = np.asarray(lengths, float)
    y = np.atleast_2d(np.asarray(values, float))  # (curves, points)
    amplitude = np.full(len(y), np.nan)
    exponent = np.full(len(y), np.nan)
    positive: NDArray[np.bool_] = np.all(y > 0, axis=1)
    if method == "weighted":
        smooth = None if errors is None else smoothed_errors(x, errors)
        if smooth is not None:
            return *fit_power_law(x, y, smooth, "wls")[:2], "weighted"
        method = "auto"
    weights = np.ones(len(x)) if errors is None else _weights(np.asarray(errors, float))
    used = "loglog" if method == "loglog" or (method == "auto" and positive[0]) else "wls"
    if len(x) < 2:
        return amplitude, exponent, used
    by_log = positive if method in ("auto", "loglog") else np.zeros(len(y), bool)
    if by_log.any():
        log_x = np.log(x)
        centred = log_x - log_x.mean()
        log_y = np.log(y[by_log])
        exponent[by_log] = log_y @ centred / (centred @ centred)
        amplitude[by_log] = np.exp(log_y.mean(axis=1) - exponent[by_log] * log_x.mean())
    if method != "loglog" and not by_log.all():
        own = weights if weights.ndim == 1 else weights[~by_log]
        amplitude[~by_log], exponent[~by_log] = _weighted_fit(x, y[~by_log], own)
    return amplitude, exponent, used


def smoothed_errors(lengths: ArrayLike, errors: ArrayLike) -> Array | None:
    """Errors whose logarithm is a parabola in log L (a line for three lengths); None where one is not positive.

    Errors of one curve, (points,), or of many, (curves, points).
    """
    x, spread = np.asarray(lengths, float), np.asarray(errors, float)
    if not (np.isfinite(spread) & (spread > 0)).all():
        return None
    if len(x) < 3:
        return spread
    logs = np.log(x)
    columns = np.vander(logs - logs.mean(), min(2, len(x) - 2) + 1)
    smooth: Array = np.exp(np.log(spread) @ (columns @ np.linalg.pinv(columns)).T)
    return smooth


def _inside(lengths: Array, within: tuple[float, float]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (lengths >= within[0]) & (lengths <= within[1])
    return inside


def _weights(errors: Array) -> Array:
    usable = (np.isfinite(errors) & (errors > 0)).all(axis=-1, keepdims=True)
    return 1 / np.where(usable, errors, 1.0) ** 2


def _weighted_fit(x: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted least squares of A·x^β (`separable.scaled`).

    The amplitude is held at or above zero. A curve with no positive trend at all has amplitude 0, and then the
    exponent means nothing: NaN.
    """
    scale = np.exp(np.log(x).mean())  # keeps powers near one
    amplitude, exponent, explained = scaled(
        lambda exponents: (x / scale) ** exponents, y, weights, _EXPONENTS, refined=41, positive=True
    )
    inside = (exponent > _EXPONENTS[0]) & (exponent < _EXPONENTS[-1])
    found = explained > 0
    return np.where(found, amplitude * scale**-exponent, 0.0), np.where(found & inside, exponent, np.nan)


def power_law_with_interval(
    lengths: ArrayLike,
    terms: ArrayLike,
    clusters: Sequence[Any],
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    method: str = "auto",
    shared_error: float = 0.0,
    within: tuple[float | None, float | None] = (None, None),
) -> PowerLaw:
    """Fit a power law to the mean of per-document terms; intervals by resampling clusters of documents.

    Every resample draws as many clusters as there are, with replacement, forms the curve anew, with errors of its
    own, and refits it the same way: where a curve is no power law β depends on the weights, and their scatter is part
    of its error. Errors are the central spread of the replicates (for the amplitude of its logarithm, which is what
    is nearly normal), intervals their quantiles, both widened for few clusters: `l2m_eval.statistics.intervals`. A
    few resamples with a point near zero have wild logarithms, which would pass for an error of all others.

    Args:
        lengths: Total lengths, shape (points,).
        terms: Per-document terms, shape (documents, points), nats; NaN where a document was not measured.
        clusters: Cluster label of each document.
        rng: Source of the resamples.
        resamples: Number of resamples.
        method: See `fit_power_law`.
        shared_error: Standard error of a number that all points contain and the terms do not show, nats; resamples
            draw it, too.
        within: First and last length of the fit; None for all. With fewer than three points inside there is no fit.
    """
    limits = (within[0] or 0.0, math.inf if within[1] is None else within[1])
    inside = _inside(np.asarray(lengths, float), limits)
    x = np.asarray(lengths, float)[inside]
    values = np.asarray(terms, float)[:, inside]
    if within != (None, None) and len(x) < _FEWEST:
        x, values = x[:0], values[:, :0]
    measured = MeanWithError(values, clusters, shared_error)
    curve, spread, count = measured.mean, measured.error, measured.count
    amplitude, exponent, used = fit_power_law(x, curve, spread, method)
    replicates = np.full((resamples, 2), np.nan)
    found = Estimate(float(amplitude[0])), Estimate(float(exponent[0]))
    half = len(x) // 2
    at_end = math.nan
    if len(x) - half >= _FEWEST:
        at_end = float(fit_power_law(x[half:], curve[half:], spread[half:], method)[1][0])
    upper, bend = Estimate(at_end), Estimate(at_end - found[1].value)
    if count >= 2 and np.isfinite(exponent[0]):
        curves, spreads = measured.resampled(rng, resamples)
        replicates[:, 0], replicates[:, 1], _ = fit_power_law(x, curves, spreads, method)
        if math.isfinite(at_end):
            ends = fit_power_law(x[half:], curves[:, half:], spreads[:, half:], method)[1]
            upper = Estimate.resampled(at_end, ends, count)
            bend = Estimate.resampled(bend.value, ends - replicates[:, 1], count)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(replicates[:, 0])
            log_amplitude = float(np.log(amplitude[0]))
        low, high = np.exp(resampled_interval(logs, log_amplitude, count)).tolist()
        found = (
            Estimate(found[0].value, found[0].value * resampled_error(logs, count), (low, high)),
            Estimate.resampled(found[1].value, replicates[:, 1], count),
        )
    return PowerLaw(
        *found,
        method=used,
        points=len(x),
        clusters=count,
        not_positive=tuple(int(length) for length, value in zip(x, curve, strict=True) if not value > 0),
        replicates=replicates,
        within=limits,
        upper=upper,
        bend=bend,
    )
