"""How two-point mutual information falls with distance: power laws, with intervals from leaving out documents."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from l2m_eval.estimators.two_point.curve import TwoPointCurve
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.goodness import goodness_of_fit
from l2m_eval.statistics.jackknife import jackknife_error
from l2m_eval.statistics.separable import nearest_line

CLEAR = 2.0  # times the noise floor: from here on the choice of points does not bias what is chosen
RESAMPLES = 1000  # that the goodness of fit rests on
# Offsets that are tried, in parts of the smallest point: none, and closer and closer to the whole of it.
OFFSETS = np.append(0.0, 1.0 - np.geomspace(0.99, 1e-6, 120))
EXPONENTS = np.linspace(0.0, 6.0, 121)[1:]  # where alpha is looked for before the minimum is refined

# Names of two of the forms, as results have them.
ABOVE_THE_FLOOR = "power_law"
IN_LOGARITHMS = "power_law_with_offset_in_logarithms"


@dataclass(frozen=True)
class TwoPointFit:
    """I(d) = amplitude * d^(-exponent) + offset, in nats.

    Attributes:
        form: "power_law" (the offset is 0), "power_law_with_offset" or "power_law_with_offset_in_logarithms".
        amplitude, exponent, offset: With jackknife standard errors; NaN where there is no fit, and `reason` says why.
        distances: The distances of the points that were fitted.
        reason: Why there is no fit; empty when there is one.
        p_value: Small where the documents reject this form at these distances (`l2m_eval.statistics.goodness`); NaN
            where not known.
    """

    form: str
    amplitude: Estimate
    exponent: Estimate
    offset: Estimate
    distances: tuple[int, ...]
    reason: str = ""
    p_value: float = math.nan


def fit_power_law_with_offset(curve: TwoPointCurve) -> TwoPointFit:
    """A * d^(-alpha) + c by least squares on all points before the null is subtracted.

    The form is the published one, the fit is not (see `fit_power_law_with_offset_in_logarithms`). The constant c
    absorbs the bias that is left and may have any sign, so this is the fit whose c is worth reading. Every point has
    the same weight in nats, so the short distances, where the information is, decide the exponent.
    """
    return _fit_with_offset(
        _Law("power_law_with_offset", _least_squares_with_offset, _power_laws_with_offset), curve
    )


def fit_power_law_with_offset_in_logarithms(curve: TwoPointCurve) -> TwoPointFit:
    """A * d^(-alpha) + c as the published scripts fit it: least squares of log(y - c), with 0 <= c < min y.

    On all points before the null is subtracted. Every point has the same weight in proportion, so the long distances
    decide the exponent as much as the short ones: the one to compare with the published exponent. It says
    little of c, which stays below the smallest point: on a small corpus, whose long distances scatter, it is often 0.
    Source: arXiv 2503.04725, figure of two-point mutual information and its script.
    """
    law = _Law(
        IN_LOGARITHMS,
        _least_squares_in_logarithms_with_offset,
        _power_laws_with_offset_in_logarithms,
    )
    return _fit_with_offset(law, curve)


@dataclass(frozen=True)
class _Law:
    """A form and how it is fitted.

    Attributes:
        form: See `TwoPointFit`.
        fit: From distances and values (points,) to amplitude, exponent and offset, (3,); NaN where there is no fit.
        fitted: From distances (points,) and values (curves, points) to the fitted curves, same shape.
    """

    form: str
    fit: Callable[[Array, Array], Array]
    fitted: Callable[[Array, Array], Array]


def _fit_with_offset(law: _Law, curve: TwoPointCurve) -> TwoPointFit:
    if len(curve.distances) < 4:
        return _no_fit(law.form, f"{len(curve.distances)} distances; three parameters need 4")
    distances = curve.distances.astype(float)
    replicates = curve.replicates + (curve.uncorrected - curve.mi)  # with the null of the whole sample
    return _with_intervals(law, curve, distances, curve.uncorrected, replicates)


def fit_power_law_above_floor(curve: TwoPointCurve) -> TwoPointFit:
    """A * d^(-alpha) by least squares in log-log, on the points of `mi` that lie well above the noise floor.

    Well above is twice the floor, four standard deviations from zero. A point whose true value is near the floor lies
    above it when it happens to come out too large, and would flatten the fit; a point twice as high seldom falls
    below. The points are chosen once, for all documents, and stay the same without each group.
    """
    form = ABOVE_THE_FLOOR
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
    law = _Law(form, _least_squares_in_logarithms, _power_laws)
    return _with_intervals(law, curve, distances, curve.mi[above], curve.replicates[:, above])


def _least_squares_in_logarithms(distances: Array, values: Array) -> Array:
    if not (values > 0).all():  # also when a replicate has no pairs left
        return np.full(3, np.nan)
    slope, intercept = np.polyfit(np.log(distances), np.log(values), 1)
    return np.array([np.exp(intercept), -slope, 0.0])


def _least_squares_with_offset(distances: Array, values: Array) -> Array:
    """The problem is linear for a given exponent, so only that is searched: over a grid, then refined."""
    if not np.isfinite(values).all():
        return np.full(3, np.nan)

    def linear(exponent: float) -> tuple[Array, float]:
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


def _least_squares_in_logarithms_with_offset(distances: Array, values: Array) -> Array:
    """The problem is linear in logarithms for a given offset, which is searched over a grid, then refined."""
    if not (values > 0).all():
        return np.full(3, np.nan)
    smallest = float(values.min())
    misfit = [_in_logarithms(distances, values[None], smallest * share)[1][0] for share in OFFSETS]
    best = int(np.argmin(misfit))
    share = float(OFFSETS[best])
    if best > 0:
        around = (float(OFFSETS[best - 1]), float(OFFSETS[min(best + 1, len(OFFSETS) - 1)]))
        share = float(
            minimize_scalar(
                lambda s: _in_logarithms(distances, values[None], smallest * s)[1][0],
                bounds=around,
                method="bounded",
                options={"xatol": 1e-8},
            ).x
        )
    offset = smallest * share
    slope, intercept = np.polyfit(np.log(distances), np.log(values - offset), 1)
    return np.array([np.exp(intercept), -slope, offset])


def _in_logarithms(distances: Array, values: Array, offset: float | Array) -> tuple[Array, Array]:
    """Straight lines through log(values - offset), (curves, points), and their squared residuals' sums, (curves,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(values - offset)
    x = np.log(distances) - np.log(distances).mean()
    slope = logarithms @ x / (x @ x)
    line = logarithms.mean(axis=1, keepdims=True) + slope[:, None] * x
    return line, ((logarithms - line) ** 2).sum(axis=1)


def _with_intervals(
    law: _Law, curve: TwoPointCurve, distances: Array, values: Array, replicates: Array
) -> TwoPointFit:
    estimate = law.fit(distances, values)
    if np.isnan(estimate).any():
        return _no_fit(law.form, _no_minimum(law.form, values))
    # What leaving out documents does not show adds what moving each point by it does to the fit.
    unseen = np.interp(distances, curve.distances, curve.unseen_error)
    moved = np.array([law.fit(distances, values + one) - estimate for one in np.diag(unseen)])  # (points, 3)
    error = np.sqrt(
        jackknife_error([law.fit(distances, replicate) for replicate in replicates]) ** 2
        + (moved**2).sum(axis=0)
    )
    amplitude, exponent, offset = (
        Estimate.of_mean(value, spread, curve.groups)
        for value, spread in zip(estimate.tolist(), error.tolist(), strict=True)
    )
    return TwoPointFit(
        law.form,
        amplitude,
        exponent,
        offset,
        distances=tuple(int(d) for d in distances),
        p_value=_p_value(law, distances, values, replicates, unseen),
    )


def _no_minimum(form: str, values: Array) -> str:
    if form.endswith("in_logarithms") and not (values > 0).all():
        return (
            f"{int((values <= 0).sum())} of {len(values)} points are not positive; logarithms need all to be"
        )
    return f"no least-squares minimum with an exponent inside 0 ... {EXPONENTS[-1]:g}"


def _p_value(law: _Law, distances: Array, values: Array, replicates: Array, unseen: Array) -> float:
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
    return goodness_of_fit(values, errors, deviations, lambda curves: law.fitted(distances, curves))


def _power_laws(distances: Array, values: Array) -> Array:
    """The fitted curves of `_least_squares_in_logarithms`, (curves, points); NaN where a value is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.where(values > 0, np.log(values), np.nan)
    x = np.log(distances) - np.log(distances).mean()
    slope = logarithms @ x / (x @ x)
    return np.asarray(np.exp(logarithms.mean(axis=1, keepdims=True) + slope[:, None] * x))


def _power_laws_with_offset(distances: Array, values: Array) -> Array:
    """The fitted curves of `_least_squares_with_offset`, (curves, points), with exponents from a fine grid."""
    exponents = np.linspace(0.0, EXPONENTS[-1], 601)[1:, None]
    return nearest_line(values, distances**-exponents, np.ones(len(distances)))


def _power_laws_with_offset_in_logarithms(distances: Array, values: Array) -> Array:
    """The fitted curves of `_least_squares_in_logarithms_with_offset`, (curves, points); NaN where a value is not
    positive."""
    smallest = np.where((values > 0).all(axis=1), values.min(axis=1), np.nan)[:, None]
    fitted, least = np.full_like(values, np.nan), np.full(len(values), np.inf)
    for share in OFFSETS:
        line, misfit = _in_logarithms(distances, values, share * smallest)
        better = misfit < least
        fitted[better], least[better] = (np.exp(line) + share * smallest)[better], misfit[better]
    return fitted


def _no_fit(form: str, reason: str) -> TwoPointFit:
    unknown = Estimate(math.nan)
    return TwoPointFit(form, unknown, unknown, unknown, (), reason)
