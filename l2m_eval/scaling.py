"""Power laws fitted to curves whose points come from the same documents.

The points of a mutual-information curve share their documents and are strongly correlated, so intervals come
from resampling documents (clusters of them) and refitting, never from treating points as independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2m_eval.estimators.clusters import cluster_sums, resampled_curves
from l2m_eval.estimators.intervals import resampled_error, resampled_interval

Array = NDArray[np.float64]

# Exponents that the search of the weighted fit covers; real curves lie between 0 and 1.
_EXPONENTS = np.linspace(-3.0, 4.0, 281)


@dataclass(frozen=True)
class PowerLaw:
    """I(L) = amplitude · L^exponent, with the uncertainty that resampling documents gives.

    Attributes:
        amplitude: In nats at L = 1; L is the *total* length. For the same law in the left block's length
            multiply by ratio^exponent.
        exponent: β.
        amplitude_error, exponent_error: Standard errors; NaN with fewer than two clusters.
        amplitude_interval, exponent_interval: 95 % intervals: quantiles of the replicates, widened as Student's t is
            for the number of clusters.
        method: ``"loglog"`` or ``"wls"``, see `fit_power_law`.
        points: Number of points the fit rests on.
        clusters: Number of clusters of documents behind the intervals.
        not_positive: Lengths whose estimate is not positive, which have no logarithm.
        replicates: Amplitude and exponent of each resample, shape (resamples, 2).
    """

    amplitude: float
    exponent: float
    amplitude_error: float
    exponent_error: float
    amplitude_interval: tuple[float, float]
    exponent_interval: tuple[float, float]
    method: str
    points: int
    clusters: int
    not_positive: tuple[int, ...]
    replicates: Array


def fit_power_law(
    lengths: ArrayLike, values: ArrayLike, errors: ArrayLike | None = None, method: str = "auto"
) -> tuple[Array, Array, str]:
    """Fit ``values = A · lengths^β``, one curve or many at once.

    Args:
        lengths: Shape (points,), positive.
        values: Shape (points,) or (curves, points), nats.
        errors: Standard errors of the points, shape (points,): the weights of ``wls``. Equal weights when None.
        method: ``"loglog"``, ordinary least squares of log I on log L, as published; it has no place for a point
            that is not positive, so a curve with one gives NaN. ``"wls"``, least squares of I itself weighted by
            1/error². ``"auto"``, each curve by loglog if all its points are positive, else by wls.

    Returns:
        Amplitude and exponent of each curve, and the method of the first curve.
    """
    x = np.asarray(lengths, float)
    y = np.atleast_2d(np.asarray(values, float))  # (curves, points)
    amplitude = np.full(len(y), np.nan)
    exponent = np.full(len(y), np.nan)
    positive: NDArray[np.bool_] = np.all(y > 0, axis=1)
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
        weights = np.ones(len(x)) if errors is None else _weights(np.asarray(errors, float))
        amplitude[~by_log], exponent[~by_log] = _weighted_fit(x, y[~by_log], weights)
    return amplitude, exponent, used


def _weights(errors: Array) -> Array:
    usable = np.isfinite(errors) & (errors > 0)
    if not usable.all():
        return np.ones(len(errors))
    return 1 / errors**2


def _weighted_fit(x: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted least squares of A·x^β: A in closed form for each β, β by a grid refined around its best.

    The amplitude is held at or above zero. A curve with no positive trend at all has amplitude 0, and then the
    exponent means nothing: NaN.
    """
    scale = np.exp(np.log(x).mean())  # keeps powers near one
    rows = np.arange(len(y))
    candidates = np.broadcast_to(_EXPONENTS, (len(y), len(_EXPONENTS)))  # (C, G)
    width = float(_EXPONENTS[1] - _EXPONENTS[0])
    for _ in range(5):
        basis = (x / scale) ** candidates[:, :, None]  # (C, G, K)
        numerator = (basis * (y * weights)[:, None, :]).sum(axis=2)
        denominator = (basis**2 * weights).sum(axis=2)
        explained = np.where(numerator > 0, numerator**2 / denominator, 0.0)  # (C, G)
        best = explained.argmax(axis=1)
        exponent = candidates[rows, best]
        amplitude = (numerator / denominator)[rows, best]
        candidates = exponent[:, None] + np.linspace(-width, width, 41)
        width /= 20
    found = explained.max(axis=1) > 0
    inside = (exponent > _EXPONENTS[0]) & (exponent < _EXPONENTS[-1])
    return np.where(found, amplitude * scale**-exponent, 0.0), np.where(found & inside, exponent, np.nan)


def power_law_with_interval(
    lengths: ArrayLike,
    terms: ArrayLike,
    clusters: ArrayLike,
    errors: ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    method: str = "auto",
    confidence: float = 0.95,
    shared_error: float = 0.0,
) -> PowerLaw:
    """Fit a power law to the mean of per-document terms; intervals by resampling clusters of documents.

    Every resample draws as many clusters as there are, with replacement, forms the curve anew and refits it the
    same way. Errors are the central spread of the replicates (for the amplitude of its logarithm, which is what is
    nearly normal), intervals their quantiles, both widened for few clusters: `l2m_eval.estimators.intervals`. A few
    resamples with a point near zero have wild logarithms, which would pass for an error of all others.

    Args:
        lengths: Total lengths, shape (points,).
        terms: Per-document terms, shape (documents, points), nats.
        clusters: Cluster label of each document.
        errors: Standard errors of the points, the weights of the ``wls`` fit.
        rng: Source of the resamples.
        resamples: Number of resamples.
        method: See `fit_power_law`.
        confidence: Of the intervals.
        shared_error: Standard error of a number that all points contain and the terms do not show, nats; resamples
            draw it, too.
    """
    x = np.asarray(lengths, float)
    values = np.asarray(terms, float)
    curve = values.mean(axis=0)
    amplitude, exponent, used = fit_power_law(x, curve, errors, method)
    sums, sizes = cluster_sums(values, clusters)
    count = len(sizes)
    replicates = np.full((resamples, 2), np.nan)
    errors_out, intervals = (np.nan, np.nan), ((np.nan, np.nan), (np.nan, np.nan))
    if count >= 2 and np.isfinite(exponent[0]):
        curves = resampled_curves(sums, sizes, rng, resamples, shared_error)
        replicates[:, 0], replicates[:, 1], _ = fit_power_law(x, curves, errors, method)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(replicates[:, 0])
            log_amplitude = float(np.log(amplitude[0]))
        errors_out = (
            float(amplitude[0]) * resampled_error(logs, count),
            resampled_error(replicates[:, 1], count),
        )
        low, high = np.exp(resampled_interval(logs, log_amplitude, count, confidence)).tolist()
        intervals = (
            (low, high),
            resampled_interval(replicates[:, 1], float(exponent[0]), count, confidence),
        )
    return PowerLaw(
        amplitude=float(amplitude[0]),
        exponent=float(exponent[0]),
        amplitude_error=errors_out[0],
        exponent_error=errors_out[1],
        amplitude_interval=intervals[0],
        exponent_interval=intervals[1],
        method=used,
        points=len(x),
        clusters=count,
        not_positive=tuple(int(length) for length, value in zip(x, curve, strict=True) if not value > 0),
        replicates=replicates,
    )
