"""How two-point mutual information falls with distance: power laws, with intervals from leaving out documents."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from l2m_eval.estimators.goodness import goodness_of_fit
from l2m_eval.estimators.intervals import student_t
from l2m_eval.estimators.jackknife import jackknife_error
from l2m_eval.estimators.two_point import TwoPointCurve

Floats = NDArray[np.float64]

CLEAR = 2.0  # times the noise floor: from here on the choice of points does not bias what is chosen
RESAMPLES = 1000  # that the goodness of fit rests on
EXPONENTS = np.linspace(0.0, 6.0, 121)[1:]  # where alpha is looked for before the minimum is refined


@dataclass(frozen=True)
class TwoPointFit:
    """I(d) = amplitude * d^(-exponent) + offset, in nats.

    Attributes:
        form: "power_law" (the offset is 0) or "power_law_with_offset".
        amplitude, exponent, offset: NaN where there is no fit; `reason` says why.
        amplitude_error, exponent_error, offset_error: Jackknife standard errors.
        amplitude_interval, exponent_interval, offset_interval: 95 % intervals.
        distances: The distances of the points that were fitted.
        reason: Why there is no fit; empty when there is one.
        p_value: Small where the documents reject this form at these distances (`l2m_eval.estimators.goodness`); NaN
            where not known.
    """

    form: str
    amplitude: float
    exponent: float
    offset: float
    amplitude_error: float
    exponent_error: float
    offset_error: float
    amplitude_interval: tuple[float, float]
    exponent_interval: tuple[float, float]
    offset_interval: tuple[float, float]
    distances: tuple[int, ...]
    reason: str = ""
    p_value: float = math.nan


def fit_power_law_with_offset(curve: TwoPointCurve) -> TwoPointFit:
    """A * d^(-alpha) + c by least squares on all points before the null is subtracted, as published.

    The constant c absorbs the bias that is left. Every point has the same weight, so the short distances, where
    the information is, decide. Source: arXiv 2503.04725.
    """
    form = "power_law_with_offset"
    if len(curve.distances) < 4:
        return _no_fit(form, f"{len(curve.distances)} distances; three parameters need 4")
    distances = curve.distances.astype(float)
    replicates = curve.replicates + (curve.uncorrected - curve.mi)  # with the null of the whole sample
    return _with_intervals(
        form,
        curve,
        distances,
        curve.uncorrected,
        replicates,
        _least_squares_with_offset,
        _power_laws_with_offset,
    )


def fit_power_law_above_floor(curve: TwoPointCurve) -> TwoPointFit:
    """A * d^(-alpha) by least squares in log-log, on the points of `mi` that lie well above the noise floor.

    Well above is twice the floor, four standard deviations from zero. A point whose true value is near the floor lies
    above it when it happens to come out too large, and would flatten the fit; a point twice as high seldom falls
    below. The points are chosen once, for all documents, and stay the same without each group.
    """
    form = "power_law"
    if np.isnan(curve.floor).all():
        return _no_fit(form, "the noise floor is not known: fewer than two groups of documents have pairs")
    above = curve.mi > CLEAR * curve.floor
    if above.sum() < 3:
        return _no_fit(
            form,
            f"{above.sum()} of {len(above)} points lie above the noise floor (clear of it, at twice its height); "
            "a fit needs 3",
        )
    distances = curve.distances[above].astype(float)
    return _with_intervals(
        form,
        curve,
        distances,
        curve.mi[above],
        curve.replicates[:, above],
        _least_squares_in_logarithms,
        _power_laws,
    )


def _least_squares_in_logarithms(distances: Floats, values: Floats) -> Floats:
    if not (values > 0).all():  # also when a replicate has no pairs left
        return np.full(3, np.nan)
    slope, intercept = np.polyfit(np.log(distances), np.log(values), 1)
    return np.array([np.exp(intercept), -slope, 0.0])


def _least_squares_with_offset(distances: Floats, values: Floats) -> Floats:
    """For a given exponent the problem is linear, so one parameter is searched for: over a grid, then refined."""
    if not np.isfinite(values).all():
        return np.full(3, np.nan)

    def linear(exponent: float) -> tuple[Floats, float]:
        design = np.stack((distances**-exponent, np.ones_like(distances)), axis=1)
        solution = np.asarray(np.linalg.lstsq(design, values, rcond=None)[0], dtype=np.float64)
        return solution, float(((design @ solution - values) ** 2).sum())

    best = int(np.argmin([linear(exponent)[1] for exponent in EXPONENTS]))
    if best in (0, len(EXPONENTS) - 1):
        return np.full(3, np.nan)
    around = (float(EXPONENTS[best - 1]), float(EXPONENTS[best + 1]))
    exponent = float(
        minimize_scalar(lambda e: linear(e)[1], bounds=around, method="bounded", options={"xatol": 1e-8}).x
    )
    (amplitude, offset), _ = linear(exponent)
    return np.array([amplitude, exponent, offset])


def _with_intervals(
    form: str,
    curve: TwoPointCurve,
    distances: Floats,
    values: Floats,
    replicates: Floats,
    fit: Callable[[Floats, Floats], Floats],
    law: Callable[[Floats, Floats], Floats],
) -> TwoPointFit:
    estimate = fit(distances, values)
    if np.isnan(estimate).any():
        return _no_fit(form, f"no least-squares minimum with an exponent inside 0 ... {EXPONENTS[-1]:g}")
    # What leaving out documents does not show adds what moving each point by it does to the fit.
    unseen = np.interp(distances, curve.distances, curve.unseen_error)
    moved = np.array([fit(distances, values + one) - estimate for one in np.diag(unseen)])  # (points, 3)
    error = np.sqrt(
        jackknife_error([fit(distances, replicate) for replicate in replicates]) ** 2 + (moved**2).sum(axis=0)
    )
    reach = student_t(curve.groups) * error
    intervals = [(float(x - r), float(x + r)) for x, r in zip(estimate, reach, strict=True)]
    return TwoPointFit(
        form=form,
        amplitude=float(estimate[0]),
        exponent=float(estimate[1]),
        offset=float(estimate[2]),
        amplitude_error=float(error[0]),
        exponent_error=float(error[1]),
        offset_error=float(error[2]),
        amplitude_interval=intervals[0],
        exponent_interval=intervals[1],
        offset_interval=intervals[2],
        distances=tuple(int(d) for d in distances),
        p_value=_p_value(curve, distances, values, replicates, unseen, law),
    )


def _p_value(
    curve: TwoPointCurve,
    distances: Floats,
    values: Floats,
    replicates: Floats,
    unseen: Floats,
    law: Callable[[Floats, Floats], Floats],
) -> float:
    """Curves as far from the estimate as its error reaches are drawn from Student's t: what each group of documents
    adds, with a random weight of its own, and what leaving them out does not show."""
    groups = len(replicates)
    if groups < 2:
        return math.nan
    rng = np.random.default_rng(0)  # the weights know nothing of the data
    seen = rng.standard_normal((RESAMPLES, groups)) @ (replicates - replicates.mean(axis=0))
    deviations = math.sqrt((groups - 1) / groups) * seen + unseen * rng.standard_normal(
        (RESAMPLES, len(values))
    )
    deviations *= np.sqrt((groups - 1) / rng.chisquare(groups - 1, size=(RESAMPLES, 1)))
    errors = np.hypot(jackknife_error(replicates), unseen)
    return goodness_of_fit(values, errors, deviations, lambda curves: law(distances, curves))


def _power_laws(distances: Floats, values: Floats) -> Floats:
    """The fitted curves of `_least_squares_in_logarithms`, (curves, points); NaN where a value is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.where(values > 0, np.log(values), np.nan)
    x = np.log(distances) - np.log(distances).mean()
    slope = logarithms @ x / (x @ x)
    return np.asarray(np.exp(logarithms.mean(axis=1, keepdims=True) + slope[:, None] * x))


def _power_laws_with_offset(distances: Floats, values: Floats) -> Floats:
    """The fitted curves of `_least_squares_with_offset`, (curves, points), with exponents from a fine grid."""
    x = distances ** -np.linspace(0.0, EXPONENTS[-1], 601)[1:, None]  # (exponents, points)
    x -= x.mean(axis=1, keepdims=True)
    x /= np.sqrt((x**2).sum(axis=1, keepdims=True))
    mean = values.mean(axis=1, keepdims=True)
    along = (values - mean) @ x.T  # (curves, exponents)
    rows, best = np.arange(len(values)), np.abs(along).argmax(axis=1)
    return np.asarray(mean + along[rows, best][:, None] * x[best])


def _no_fit(form: str, reason: str) -> TwoPointFit:
    nan = float("nan")
    nans = (nan, nan)
    return TwoPointFit(form, nan, nan, nan, nan, nan, nan, nans, nans, nans, (), reason)
