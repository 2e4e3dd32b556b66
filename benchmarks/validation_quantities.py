"""What a scenario's replicates come to, for each quantity: estimates, errors and intervals beside the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats
from validation_scenarios import (
    DISTANCES,
    FAR,
    SEED,
    Scenario,
    TwoPointScenario,
    as_records,
    bipartite_settings,
    draw,
    exact_curve,
)

from l2m_eval.condition.horizon import FARTHEST, horizon
from l2m_eval.condition.law import ScalingLaw
from l2m_eval.estimators.position import PositionCurve, fit_approach, per_position_nll
from l2m_eval.estimators.two_point.curve import TwoPointCurve, two_point_mutual_information
from l2m_eval.estimators.two_point.estimation import PairEstimation
from l2m_eval.estimators.two_point.fit import fit_power_law_above_floor
from l2m_eval.history_state import history_state_size
from l2m_eval.measurements.bipartite import bipartite_curves
from l2m_eval.processes import (
    Tree,
)
from l2m_eval.statistics.power_law import fit_power_law


@dataclass(frozen=True)
class Quantity:
    """Replicates of one estimate. All arrays are (replicates, points); one point for a fitted parameter."""

    value: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    truth: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """True standard deviation of the estimate, (points,); NaN where it is always the same number.

        The first token of a tree is one of two, equally likely in every document.
        """
        spread = np.nanstd(self.value, axis=0, ddof=1)
        return np.where(spread > 1e-6 * np.abs(np.nanmean(self.value, axis=0)), spread, np.nan)

    def bias(self) -> tuple[float, float]:
        """Mean over points of (estimate − truth) / spread, and its Monte-Carlo error."""
        z = (self.value - self.truth) / self.spread
        z = np.nanmean(z[~np.isnan(z).all(axis=1)], axis=1)
        return float(np.nanmean(z)), float(np.nanstd(z, ddof=1) / math.sqrt(len(z)))

    def error_ratio(self) -> float:
        """Root mean square of the standard errors over the true spread, mean over points."""
        return float(np.nanmean(np.sqrt(np.nanmean(self.error**2, axis=0)) / self.spread))

    def coverage(self) -> tuple[float, float]:
        """Share of intervals that hold the truth, and its Monte-Carlo error. No interval: not held."""
        inside = ((self.low <= self.truth) & (self.truth <= self.high)).astype(float)
        inside[np.isnan(self.value)] = np.nan  # no estimate, nothing to hold; see `missing`
        inside[:, np.isnan(self.spread)] = np.nan
        held = np.nanmean(inside[~np.isnan(inside).all(axis=1)], axis=1)
        # Points of one replicate rise and fall together: the error is that between replicates.
        return float(held.mean()), float(max(held.std(ddof=1), 0.1) / math.sqrt(len(held)))

    def missing(self) -> float:
        """Share of replicates without an estimate."""
        return float(np.isnan(self.value).mean())


def quantity(rows: Sequence[tuple[Any, Any, Any, Any]], truth: Any) -> Quantity:
    """From (value, error, low, high) of each replicate."""
    columns = [np.array([np.atleast_1d(row[i]) for row in rows], float) for i in range(4)]
    return Quantity(*columns, np.atleast_1d(np.asarray(truth, float)))


def bipartite_quantities(
    scenario: Scenario,
    sums: dict[str, np.ndarray],
    reference: np.ndarray,
    documents: int,
    replicates: int,
) -> dict[str, Quantity]:
    """Points, β, A and, of the direct one, the horizon of each estimator over replicates of `documents` documents.

    reference: vCLUB's own expectation, (lengths,), nats: an upper bound of the information, not the information.
    """
    rows: dict[str, list[Any]] = {}
    errors: dict[str, list[np.ndarray]] = {}
    settings = bipartite_settings(scenario)
    far = FAR * float(exact_curve(scenario)[-1])
    for replicate in range(replicates):
        at = slice(replicate * documents, (replicate + 1) * documents)
        for curve in bipartite_curves(*as_records(scenario, sums, at), settings, seed=replicate):
            fit = curve.fit
            reach = stats.t.ppf(0.975, curve.clusters - 1) * curve.standard_error
            errors.setdefault(curve.name, []).append(curve.standard_error)
            point = (curve.mi, curve.standard_error, curve.mi - reach, curve.mi + reach)
            rows.setdefault(f"{curve.name} points", []).append(point)
            rows.setdefault(f"{curve.name} β", []).append(
                (fit.exponent.value, fit.exponent.standard_error, *fit.exponent.interval)
            )
            rows.setdefault(f"{curve.name} A", []).append(
                (fit.amplitude.value, fit.amplitude.standard_error, *fit.amplitude.interval)
            )
            if curve.name == "direct" and np.isfinite(fit.exponent.value):
                rows.setdefault("direct horizon", []).append(
                    log_horizon(ScalingLaw.from_fit(fit, scenario.name), far)
                )
    found = {}
    for name, exact in (("direct", exact_curve(scenario)), ("vclub", reference)):
        if name not in errors:
            continue
        # The same fit to the exact curve: with the weights that the replicates have in the mean.
        weights = np.sqrt(np.mean(np.square(errors[name]), axis=0))
        (amplitude,), (exponent,), _ = fit_power_law(scenario.lengths, exact, weights, settings.fit)
        truths = {"points": exact, "β": exponent, "A": amplitude}
        if name == "direct":
            truths["horizon"] = log_horizon(
                ScalingLaw(float(amplitude), float(exponent), scenario.name), far
            )[0]
        for what, truth in truths.items():
            # A curve that does not grow has no length to be held.
            if what != "horizon" or truth < math.log(FARTHEST):
                found[f"{name} {what}"] = quantity(rows[f"{name} {what}"], truth)
    return found


def log_horizon(law: ScalingLaw, capacity: float) -> tuple[float, float, float, float]:
    """Logarithm of the length at which a law fills a fixed state of so many nats: value, error, interval.

    The error is that of the task: half the interval's width over 1.96. What lies beyond all lengths that are looked
    at stands at their end.
    """
    state = history_state_size({"formula": "1"}, [1])
    found = horizon(law, state, nats_per_element=capacity)
    value, low, high = np.log(np.minimum([found.length, *found.interval], FARTHEST)).tolist()
    return value, (high - low) / (2 * 1.96), low, high


def loss_quantities(
    scenario: Scenario, losses: np.ndarray, documents: int, replicates: int
) -> dict[str, Quantity]:
    """Bins, context gain and, where there is a law, the fit of the loss curve."""
    rows: dict[str, list[Any]] = {"nll bins": [], "context gain": []}
    curves = []
    for replicate in range(replicates):
        curve = per_position_nll(losses[replicate * documents : (replicate + 1) * documents])
        curves.append(curve)
        reach = stats.t.ppf(0.975, curve.clusters - 1) * curve.standard_error
        rows["nll bins"].append((curve.nll, curve.standard_error, curve.nll - reach, curve.nll + reach))
        gain = curve.context_gain
        rows["context gain"].append((gain.value, gain.standard_error, *gain.interval))
        if scenario.loss:
            fit = fit_approach(curve, resamples=400, seed=replicate)
            rows.setdefault("nll β", []).append(
                (fit.exponent.value, fit.exponent.standard_error, *fit.exponent.interval)
            )
    exact = exact_loss(scenario, curves)
    truths = {"nll bins": exact.nll, "context gain": exact.context_gain.value}
    if scenario.loss:
        truths["nll β"] = fit_approach(exact, resamples=2).exponent.value
    return {name: quantity(estimates, truths[name]) for name, estimates in rows.items()}


def exact_loss(scenario: Scenario, curves: Sequence[PositionCurve]) -> PositionCurve:
    """The exact curve, with the mean standard errors of the replicates for the weights of its fit."""
    exact = per_position_nll(-scenario.process.mean_nll(max(scenario.lengths))[None])
    error = np.sqrt(np.mean([curve.standard_error**2 for curve in curves], axis=0))
    return replace(exact, standard_error=error)


def two_point_quantities(
    scenario: TwoPointScenario, documents: int, replicates: int, seed: int
) -> dict[str, Quantity]:
    """Points with information, points with next to none (below the true spread), α and A."""
    rng = np.random.default_rng([SEED, seed])
    curves: list[TwoPointCurve] = []
    for replicate in range(replicates):
        tokens = scenario.process.sample(documents, scenario.length, rng)
        curves.append(
            two_point_mutual_information(
                list(tokens), DISTANCES, PairEstimation(seed=replicate, null=scenario.null)
            )
        )
    exact = np.array([
        scenario.process.two_point_mi(d, scenario.length) if isinstance(scenario.process, Tree)
        else scenario.process.two_point_mi(d) for d in DISTANCES
    ])  # fmt: skip
    points = quantity([(c.mi, c.standard_error, *c.interval.T) for c in curves], exact)
    strong = exact > 4 * points.spread
    found = {}
    for name, chosen in (("points above the noise", strong), ("points below it", ~strong)):
        if chosen.any():
            found[name] = Quantity(
                *(array[..., chosen] for array in (points.value, points.error, points.low, points.high)),
                exact[chosen],
            )
    # Which points are fitted is the fit's own choice, made on the data: the truth is the fit of the same points.
    fits = [(curve, fit_power_law_above_floor(curve)) for curve in curves]
    rows: dict[str, list[Any]] = {"α": [], "A": []}
    truth: dict[str, list[float]] = {"α": [], "A": []}
    for _, fit in fits:
        rows["α"].append((fit.exponent.value, fit.exponent.standard_error, *fit.exponent.interval))
        rows["A"].append((fit.amplitude.value, fit.amplitude.standard_error, *fit.amplitude.interval))
        chosen = np.isin(DISTANCES, fit.distances)
        slope, intercept = (
            np.polyfit(np.log(np.array(DISTANCES)[chosen]), np.log(exact[chosen]), 1)
            if chosen.any()
            else (np.nan, np.nan)
        )
        truth["α"].append(-slope)
        truth["A"].append(math.exp(intercept))
    for name in rows:
        found[name] = quantity(rows[name], np.array(truth[name])[:, None])
    return found


# How many documents a 1 % error on β takes

FITS = ("weighted", "loglog")


def influence(terms: np.ndarray, curve: np.ndarray, lengths: Sequence[int], fit: str) -> np.ndarray:
    """What each document adds to the fit's β, to first order, (documents,): β's error is its mean's.

    The slope of β in a point is a difference over a hundredth of the point to either side.
    """
    errors = terms.std(axis=0, ddof=1)  # the weights of the weighted fit, up to a factor
    steps = np.diag(0.01 * curve)
    moved = fit_power_law(lengths, np.concatenate([curve + steps, curve - steps]), errors, fit)[1]
    slopes = (moved[: len(curve)] - moved[len(curve) :]) / (0.02 * curve)
    return np.asarray((terms - curve) @ slopes)


def documents_for_one_percent(
    scenario: Scenario, documents: int, seed: int
) -> list[tuple[str, float, float]]:
    """Documents that bring the standard error of β to 1 % of β: (way of measuring, documents, their error).

    From the spread of the documents' influence on the fit, which is exact for many documents. A partner counts
    as a document where the way of measuring needs partners of its own. The default fit first, then the published.
    """
    sums, _ = draw(scenario, documents, seed)
    crossed_reference, _ = draw(scenario, documents, seed + 1)
    partner = np.arange(documents) ^ 1
    direct, own = exact_curve(scenario), sums["marginal"]
    vclub_curve = (crossed_reference["conditional"] - crossed_reference["crossed"]).mean(axis=0)
    vclub = sums["conditional"] - sums["crossed"]
    ways = (
        ("direct, paired marginals", sums["conditional"] - own, direct, "each"),
        ("direct, independent marginals", (sums["conditional"] - own[partner])[::2], direct, "pair"),
        ("vCLUB with control variate", vclub - own + own[partner], vclub_curve, "mutual"),
        ("vCLUB without control variate", vclub[::2], vclub_curve, "pair"),
    )
    rows = []
    for name, terms, curve, unit in ways:
        for fit in FITS:
            _, exponent, _ = fit_power_law(scenario.lengths, curve, terms.std(axis=0, ddof=1), fit)
            effect = influence(terms, curve, scenario.lengths, fit)
            if unit == "mutual":  # two documents that are each other's partners are one independent term
                effect = effect.reshape(-1, 2).mean(axis=1)
            needed = effect.var(ddof=1) / (0.01 * float(exponent[0])) ** 2
            kurtosis = ((effect - effect.mean()) ** 4).mean() / effect.var() ** 2
            uncertain = math.sqrt((kurtosis - 1) / len(effect))  # relative error of a variance
            per_unit = 1 if unit == "each" else 2
            rows.append((f"{name}, {fit}", needed * per_unit, needed * per_unit * uncertain))
    return rows
