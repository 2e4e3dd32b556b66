"""Repeat the measurements many times on processes whose values are known, and hold the estimators to their word.

    python benchmarks/validation.py            # docs/validation.md: hundreds of replicates, two processes
    python benchmarks/validation.py --quick    # the same table in about a minute, coarser

Every replicate is a measurement as the tasks make it: documents, their sums of exact log-probabilities, and then
the code that the tasks run on the records of a model (`l2m_eval.measurements.bipartite.bipartite_curves`,
`l2m_eval.estimators.position`, `l2m_eval.estimators.two_point`). What stands in for the model is the process
itself, so the estimates' expectation is the exact value, and whatever is left is the estimator's own. That the
sums are those the harness would hand over is checked on one replicate of each setting, which goes through the
tasks' windows, a scorer and the oracle model (`task_records`).

For each quantity: bias, with its Monte-Carlo error; the mean standard error over the true spread of the replicates;
and how often the 95 % interval holds the truth. The truth of a fitted exponent is the same fit of the exact curve: a
curve that is no power law has one as well.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from l2m_eval.condition import ScalingLaw, horizon
from l2m_eval.estimators.position import PositionCurve, fit_approach, per_position_nll
from l2m_eval.estimators.two_point import TwoPointCurve, two_point_mutual_information
from l2m_eval.estimators.two_point_fit import fit_power_law_above_floor
from l2m_eval.history_state import history_state_size
from l2m_eval.measurements.bipartite import bipartite_curves
from l2m_eval.processes import (
    Copy,
    HiddenMarkov,
    Markov,
    Renewal,
    SantaFe,
    TokenProcess,
    Tree,
)
from l2m_eval.scaling import fit_power_law
from l2m_eval.settings import BipartiteSettings
from l2m_eval.windows import bipartite_cells

SEED = 20250
DOCUMENTS = (20, 50, 200)
LENGTHS = (4, 8, 16, 32, 64, 128, 256, 512)
DISTANCES = (1, 2, 4, 8, 16, 32, 64, 128)
FARTHEST = 1e36  # the longest length that `l2m_eval.condition.horizon` looks at
FAR = 4.0  # times the information at the longest length: what the state of the horizon can hold
BLOCK = 2000  # documents scored at a time


@dataclass(frozen=True)
class Scenario:
    """A process, and what is done to its records to make them as uncomfortable as real ones.

    Attributes:
        name: Shown in the tables.
        process: Where documents come from; also the model.
        lengths: Total lengths L of the bipartite curve.
        tail: ``"none"``; ``"heavy"``: every document's log q(y|x) has an error of its own from Student's t with
            3 degrees of freedom, of half the curve's height; ``"skewed"``: a centred log-normal one.
        chunks: Chunks per source document. Above 1, chunks of a source share an effect of half the curve's
            height, and every third source has one chunk only.
        loss: Whether the loss curve's fit has a power law to find.
    """

    name: str
    process: TokenProcess
    lengths: tuple[int, ...] = LENGTHS
    tail: str = "none"
    chunks: int = 1
    loss: bool = False


_LAW = SantaFe(beta=0.75)
SCENARIOS = (
    Scenario("Santa Fe, β 0.5", SantaFe(beta=0.5), loss=True),
    Scenario("Santa Fe, β 0.75", _LAW, loss=True),
    Scenario("Santa Fe, β 0.75, flips 0.4", SantaFe(beta=0.75, flip_rate=0.4), loss=True),
    Scenario("Santa Fe, β 0.9", SantaFe(beta=0.9), loss=True),
    Scenario("Markov", Markov()),
    Scenario("hidden Markov", HiddenMarkov(), lengths=(4, 6, 8, 10)),
    Scenario("copy", Copy(period=256, octaves=9)),
    Scenario("tree, 2 symbols", Tree(symbols=2), lengths=(4, 8, 16)),
    Scenario("renewal", Renewal()),
    Scenario("Santa Fe, heavy tails", _LAW, tail="heavy"),
    Scenario("Santa Fe, skewed", _LAW, tail="skewed"),
    Scenario("Santa Fe, clustered", _LAW, chunks=4),
)


@dataclass(frozen=True)
class TwoPointScenario:
    """Documents for pair counting.

    Attributes:
        name, process: Shown in the tables; what documents are sampled from.
        length: Tokens of a document.
        null: What is subtracted as bias, see `two_point_mutual_information`.
        promised: Whether there are enough pairs for the dependence: see the text above the last tables.
    """

    name: str
    process: TokenProcess
    length: int = 512
    null: str = "shuffle"
    promised: bool = True


_REPEATING = Markov()  # 64 states, each kept for ten steps on average: 4096 cells, few independent pairs
_COPYING = Copy(period=128, octaves=8)  # 65,536 cells, strong dependence at every distance
TWO_POINT_SCENARIOS = (
    TwoPointScenario("Santa Fe, 50 facts, β 0.5, flips 0.4", SantaFe(beta=0.5, facts=50, flip_rate=0.4)),
    TwoPointScenario("Santa Fe, 4096 facts, β 0.75", _LAW),
    TwoPointScenario("Markov, 8 states", Markov(states=8, persistence=0.5)),
    TwoPointScenario("Markov, 8 states, shift", Markov(states=8, persistence=0.5), null="shift"),
    TwoPointScenario("hidden Markov, 4 states", HiddenMarkov()),
    TwoPointScenario("hidden Markov, 4 states, shift", HiddenMarkov(), null="shift"),
    TwoPointScenario("renewal", Renewal()),
    TwoPointScenario("tree, 4 symbols", Tree(symbols=4)),
    TwoPointScenario("Markov, 64 states, shuffle", _REPEATING, promised=False),
    TwoPointScenario("Markov, 64 states, shift", _REPEATING, null="shift", promised=False),
    TwoPointScenario("copy, 256 symbols, shuffle", _COPYING, promised=False),
    TwoPointScenario("tree, 16 symbols, shuffle", Tree(), promised=False),
)


# Records


def exact_sums(
    process: TokenProcess, tokens: np.ndarray, lengths: Sequence[int], ratio: int = 2
) -> dict[str, np.ndarray]:
    """What a perfect model's record of each document holds: sums of log p, (documents, lengths) each.

    Beside them ``losses``, log p of every token. `tokens`: (documents, longest). Documents 2k and 2k + 1 are each
    other's partners.
    """
    partner = np.arange(len(tokens)) ^ 1
    log_probs = process.log_probs(tokens)
    running = np.concatenate([np.zeros((len(tokens), 1)), np.cumsum(log_probs, axis=1)], axis=1)
    columns: dict[str, list[np.ndarray]] = {"conditional": [], "marginal": [], "crossed": []}
    for total in lengths:
        left = total // ratio
        columns["conditional"].append(running[:, total] - running[:, left])
        columns["marginal"].append(process.log_probs(tokens[:, left:total]).sum(axis=1))
        crossed = np.concatenate([tokens[:, :left], tokens[partner, left:total]], axis=1)
        columns["crossed"].append(process.log_probs(crossed)[:, left:].sum(axis=1))
    sums = {name: np.stack(values, axis=1) for name, values in columns.items()}
    return sums | {"losses": log_probs.astype(np.float32)}


def draw(scenario: Scenario, documents: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Sums and log-probabilities (documents, longest, float32) of `documents` documents of a scenario."""
    rng = np.random.default_rng([SEED, seed])
    longest = max(scenario.lengths)
    blocks = []
    for start in range(0, documents, BLOCK):
        tokens = scenario.process.sample(min(BLOCK, documents - start), longest, rng)
        blocks.append(exact_sums(scenario.process, tokens, scenario.lengths))
    sums = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    losses = sums.pop("losses")
    curve = exact_curve(scenario)
    if scenario.tail != "none":
        shape = (documents, 1 + len(curve))
        noise = (
            stats.t(3).rvs(shape, random_state=rng)
            if scenario.tail == "heavy"
            else np.exp(rng.normal(size=shape)) - math.exp(0.5)
        )
        sums["conditional"] += curve * (0.5 * noise[:, :1] + 0.25 * noise[:, 1:])
    if scenario.chunks > 1:
        effect = rng.normal(size=(documents, 1))[source_of(scenario, documents)]
        sums["conditional"] += 0.5 * curve * effect
    disturbed = scenario.tail != "none" or scenario.chunks > 1
    return sums, losses[:0] if disturbed else losses


def source_of(scenario: Scenario, documents: int) -> np.ndarray:
    """Source of each document: its own, or one of clusters of `chunks` chunks and, every third, a single one."""
    if scenario.chunks == 1:
        return np.arange(documents)
    sizes = np.tile([scenario.chunks, scenario.chunks, 1], documents)
    return np.repeat(np.arange(len(sizes)), sizes)[:documents]


def exact_curve(scenario: Scenario) -> np.ndarray:
    """Exact I(L/2; L), (lengths,), nats."""
    return np.array([scenario.process.bipartite_mi(total // 2, total) for total in scenario.lengths])


def bipartite_settings(scenario: Scenario, **changes: Any) -> BipartiteSettings:
    """Settings of the task that measures the scenario; 400 resamples know a standard deviation to 3.5 %."""
    estimators = ("direct", "vclub") if scenario.chunks == 1 else ("direct",)
    return BipartiteSettings(lengths=scenario.lengths, estimators=estimators, resamples=400, **changes)


def as_records(
    scenario: Scenario, sums: dict[str, np.ndarray], rows: slice
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records and documents of one replicate, as the task's samples log has them."""
    cells = [[cell.ratio, cell.left, cell.total] for cell in bipartite_cells(scenario.lengths, (2,))]
    chosen = {name: values[rows] for name, values in sums.items()}
    count = len(chosen["conditional"])
    records = [
        {
            "cells": cells,
            "conditional": chosen["conditional"][i],
            "marginal": chosen["marginal"][i],
            "crossed": chosen["crossed"][i][None],
        }
        for i in range(count)
    ]
    source = source_of(scenario, rows.stop)[rows]  # as `draw` gave the sources their effects
    docs = [
        {"index": i, "source": int(source[i]), "group": i // 2, "partner_index": [i ^ 1]}
        for i in range(count)
    ]
    return records, docs


def task_records(scenario: Scenario, documents: int) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Records of documents of the scenario's process as a run makes them: text, windows, scorer, oracle model.

    Returns the records, and the tokens of each document in the order of the records, partners side by side.
    """
    import json

    from l2m_eval.corpora import draw_sample
    from l2m_eval.measurements.bipartite import BipartiteRequest
    from l2m_eval.processes.oracle import OracleLM
    from l2m_eval.scoring.base import score_requests

    process = scenario.process
    settings = bipartite_settings(scenario, corpus=("process",), documents=documents, process=process.name)
    settings = replace(settings, process_settings=tuple(process.settings.items()))
    sample = draw_sample(settings, max(scenario.lengths), SEED, pairing=settings.pairing)
    oracle = OracleLM(process)
    requests = [
        BipartiteRequest(
            settings, sample, sample.chunks[chunk], tuple(sample.chunks[p] for p in partners), False
        )
        for chunk, partners in zip(sample.measured, sample.partners, strict=True)
    ]
    records = [json.loads(record) for record in score_requests(oracle, requests, progress=False)]
    place = {chunk: number for number, chunk in enumerate(sample.measured)}
    order, seen = [], set()
    for number, partners in enumerate(sample.partners):
        if number not in seen:
            order += [number, place[partners[0]]]
            seen |= {number, place[partners[0]]}
    tokens = [
        np.array(oracle.tok_encode(sample.chunks[sample.measured[number]].text)[: max(scenario.lengths)])
        for number in order
    ]
    return [records[number] for number in order], tokens


def same_as_the_task(scenario: Scenario, documents: int = 8) -> float:
    """Largest difference, nats, between the sums of `exact_sums` and of a run on the same documents."""
    records, tokens = task_records(replace(scenario, chunks=1), documents)  # with partners, to check all sums
    ours = exact_sums(scenario.process, np.stack(tokens), scenario.lengths)
    return max(
        float(np.abs(ours[name] - np.array([np.reshape(r[name], -1) for r in records])).max())
        for name in ("conditional", "marginal", "crossed")
    )


# What a scenario's replicates come to


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
    settings = bipartite_settings(scenario)
    far = FAR * float(exact_curve(scenario)[-1])
    (amplitude,), (exponent,), _ = fit_power_law(scenario.lengths, exact_curve(scenario))
    exact_horizon = log_horizon(ScalingLaw(float(amplitude), float(exponent), scenario.name), far)[0]
    filled = exact_horizon < math.log(FARTHEST)  # a curve that does not grow has no length to be held
    for replicate in range(replicates):
        at = slice(replicate * documents, (replicate + 1) * documents)
        for curve in bipartite_curves(*as_records(scenario, sums, at), settings, seed=replicate):
            fit, estimate = curve.fit, curve.estimate
            reach = stats.t.ppf(0.975, estimate.clusters - 1) * estimate.standard_error
            point = (estimate.value, estimate.standard_error, estimate.value - reach, estimate.value + reach)
            rows.setdefault(f"{curve.name} points", []).append(point)
            rows.setdefault(f"{curve.name} β", []).append(
                (fit.exponent, fit.exponent_error, *fit.exponent_interval)
            )
            rows.setdefault(f"{curve.name} A", []).append(
                (fit.amplitude, fit.amplitude_error, *fit.amplitude_interval)
            )
            if curve.name == "direct" and filled and np.isfinite(fit.exponent):
                rows.setdefault("direct horizon", []).append(
                    log_horizon(ScalingLaw.from_fit(fit, scenario.name), far)
                )
    truths = {"direct": exact_curve(scenario), "vclub": reference}
    found = {}
    for name, estimates in rows.items():
        curve_name, what = name.split()
        truth = truths[curve_name]
        if what != "points":
            (amplitude,), (exponent,), _ = fit_power_law(scenario.lengths, truth)
            truth = {"β": exponent, "A": amplitude, "horizon": exact_horizon}[what]
        found[name] = quantity(estimates, truth)
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
            rows.setdefault("nll β", []).append((fit.exponent, fit.exponent_error, *fit.exponent_interval))
    exact = exact_loss(scenario, curves)
    truths = {"nll bins": exact.nll, "context gain": exact.context_gain.value}
    if scenario.loss:
        truths["nll β"] = fit_approach(exact, resamples=2).exponent
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
            two_point_mutual_information(list(tokens), DISTANCES, seed=replicate, null=scenario.null)
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
        rows["α"].append((fit.exponent, fit.exponent_error, *fit.exponent_interval))
        rows["A"].append((fit.amplitude, fit.amplitude_error, *fit.amplitude_interval))
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


def influence(terms: np.ndarray, curve: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """What each document adds to the log-log fit's β, to first order, (documents,): β's error is its mean's."""
    centred = np.log(lengths) - np.log(lengths).mean()
    return np.asarray(((terms - curve) / curve) @ centred / (centred @ centred))


def documents_for_one_percent(
    scenario: Scenario, documents: int, seed: int
) -> list[tuple[str, float, float]]:
    """Documents that bring the standard error of β to 1 % of β: (way of measuring, documents, their error).

    From the spread of the documents' influence on the fit, which is exact for many documents. A partner counts
    as a document where the way of measuring needs partners of its own.
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
        _, exponent, _ = fit_power_law(scenario.lengths, curve)
        effect = influence(terms, curve, scenario.lengths)
        if unit == "mutual":  # two documents that are each other's partners are one independent term
            effect = effect.reshape(-1, 2).mean(axis=1)
        needed = effect.var(ddof=1) / (0.01 * float(exponent[0])) ** 2
        kurtosis = ((effect - effect.mean()) ** 4).mean() / effect.var() ** 2
        uncertain = math.sqrt((kurtosis - 1) / len(effect))  # relative error of a variance
        per_unit = 1 if unit == "each" else 2
        rows.append((name, needed * per_unit, needed * per_unit * uncertain))
    return rows


# Running it


@dataclass(frozen=True)
class Preset:
    """How much is repeated.

    Attributes:
        replicates: Of 200 documents; of fewer documents twice as many, from the same draw.
        two_point: Replicates of a pair count.
        scenarios, two_point_scenarios: Which ones.
        efficiency: Documents behind the variances of the last table.
        documents: Sizes measured.
    """

    replicates: int
    two_point: int
    efficiency: int
    documents: tuple[int, ...]
    scenarios: tuple[Scenario, ...]
    two_point_scenarios: tuple[TwoPointScenario, ...]


FULL = Preset(200, 150, 20_000, DOCUMENTS, SCENARIOS, TWO_POINT_SCENARIOS)
QUICK = Preset(
    150,
    60,
    5_000,
    (20, 200),
    tuple(s for s in SCENARIOS if s.name in ("Santa Fe, β 0.75", "Markov", "Santa Fe, heavy tails")),
    tuple(
        s
        for s in TWO_POINT_SCENARIOS
        if s.name in ("Markov, 8 states, shift", "Santa Fe, 50 facts, β 0.5, flips 0.4")
    ),
)

Row = tuple[str, int, dict[str, Quantity], float]


def run_scenario(number: int, scenario: Scenario, preset: Preset) -> list[Row]:
    """Quantities by number of documents; the last entry is the difference from the task's own records, nats."""
    drawn = preset.replicates * max(preset.documents)
    sums, losses = draw(scenario, drawn, 2 * number)
    reference, _ = draw(scenario, min(drawn, 20_000), 2 * number + 1)
    vclub = (reference["conditional"] - reference["crossed"]).mean(axis=0)
    difference = same_as_the_task(scenario)
    rows = []
    for documents in preset.documents:
        replicates = min(drawn // documents, 2 * preset.replicates)
        found = bipartite_quantities(scenario, sums, vclub, documents, replicates)
        if len(losses):
            found |= loss_quantities(scenario, losses, documents, replicates)
        rows.append((scenario.name, documents, found, difference))
    return rows


def run_two_point(number: int, scenario: TwoPointScenario, preset: Preset) -> list[Row]:
    """The same of pair counts."""
    return [
        (scenario.name, documents, two_point_quantities(scenario, documents, preset.two_point, number), 0.0)
        for documents in preset.documents
    ]


def run(preset: Preset, processes: int = 2) -> tuple[list[Row], list[Row], list[tuple[str, float, float]]]:
    """All scenarios of a preset."""
    with ProcessPoolExecutor(processes) as pool:
        two_point = [
            pool.submit(run_two_point, 1000 + number, scenario, preset)
            for number, scenario in enumerate(preset.two_point_scenarios)
        ]
        bipartite = [
            pool.submit(run_scenario, number, scenario, preset)
            for number, scenario in enumerate(preset.scenarios)
        ]
        needed = pool.submit(documents_for_one_percent, SCENARIOS[1], preset.efficiency, 5000)
        return (
            [row for future in bipartite for row in future.result()],
            [row for future in two_point for row in future.result()],
            needed.result(),
        )


# Tables


def table(rows: Sequence[Row], show: Callable[[Quantity], str]) -> Iterator[str]:
    """Scenarios and documents down, quantities across."""
    names = list(dict.fromkeys(name for row in rows for name in row[2]))
    yield "| process | documents | " + " | ".join(names) + " |"
    yield "| --- " * (2 + len(names)) + "|"
    for scenario, documents, found, _ in rows:
        cells = [show(found[name]) if name in found else "" for name in names]
        yield f"| {scenario} | {documents} | " + " | ".join(cells) + " |"


def show_coverage(quantity: Quantity) -> str:
    """In percent, set in bold outside 93–97 % by more than two Monte-Carlo errors."""
    if quantity.missing() > 0.9:
        return "no fit"
    held, error = quantity.coverage()
    shown = f"{100 * held:.1f} ± {100 * error:.1f}"
    if not 0.93 - 2 * error <= held <= 0.97 + 2 * error:
        shown = f"**{shown}**"
    return shown + (f" ({100 * quantity.missing():.0f} % no fit)" if quantity.missing() > 0.005 else "")


def show_error_ratio(quantity: Quantity) -> str:
    return "" if quantity.missing() > 0.9 else f"{quantity.error_ratio():.2f}"


def show_bias(quantity: Quantity) -> str:
    return "" if quantity.missing() > 0.9 else "{:+.2f} ± {:.2f}".format(*quantity.bias())


SECTIONS = (
    (
        "Coverage of the 95 % intervals, percent",
        "Target: 93–97. Bold: outside by more than two Monte-Carlo errors.",
        show_coverage,
    ),
    (
        "Standard error over the true spread",
        "Root mean square of the standard errors, divided by the standard deviation over replicates. Target: 1.",
        show_error_ratio,
    ),
    (
        "Bias, in units of the true spread",
        "Mean over points of (estimate − truth) / spread, with its Monte-Carlo error. Below 0.2 it does not move "
        "the coverage of an interval visibly.",
        show_bias,
    ),
)


INTRODUCTION = """\
# Do the error bars keep their word?

Generated: `python benchmarks/validation.py > docs/validation.md` (about six minutes on two cores;
`--quick` is a part of it in about a minute, and `tests/test_validation.py` asserts the promise on that).

Documents are sampled from processes whose mutual information is known exactly, scored with their own exact log-
probabilities, and measured with the code that the tasks run, hundreds of times over: what the estimates scatter
is then known, and can be held against the error bars that each of them gives. Points are the curve's estimates
with Student's t; β, A (the amplitude) and the horizon are the fits' own intervals. The truth of a fit is the same
fit of the exact curve, which for most processes is no power law. vCLUB's truth is its own expectation, an upper
bound of the information. *heavy tails*, *skewed*: every document's log q(y|x) has an error of its own from
Student's t with 3 degrees of freedom, or a centred log-normal one. *clustered*: up to four chunks of a source
share an effect. "No fit": the share of replicates whose fit has no minimum inside its range, or too few points
clear of the noise; they have no interval that could be held to anything."""

IN_SHORT = """\
## In short

- *Mutual information, β, A.* From 50 documents on the intervals of points and fits of both estimators hold what
  they promise, also with heavy tails, skew and clusters. With 20 documents the fits do; points do where the
  terms of documents are nearly symmetric, and hold 87 to 92 % where a few documents carry the information (the
  tree; the Markov chain, whose terms take a handful of values, still 90 % at 50): no error bar from 20 numbers
  knows what was not drawn. Fits of a weak signal at 20 documents now and then have an exponent far away, and
  their spread is that of these few.
- *Horizon*, the length at which the law fills a fixed state (here one that holds four times the information at
  the longest length): its interval holds at every number of documents, and is now and then a little wide. Of its
  logarithm, with what lies beyond 10^36 tokens at that end. The exact curves of the Markov chain and of the tree
  fill no state; they have no length that could be held.
- *Loss.* Bins and the context gain hold. The exponent of the loss curve is another matter: of 200 documents of
  512 tokens a quarter to a half have no minimum inside the range at all, and where there is one it is too low
  by half a spread to a whole one. The intervals are as wide as that takes; an exponent from the loss needs
  thousands of documents.
- *Two-point.* Intervals hold where the null is right, and are a little wide (by a fifth) where pairs are many
  and I is tiny. Where neighbours repeat each other the null of shuffled tokens leaves a bias of one to two
  standard errors at large distances, which the shifted null takes away. Points of the renewal process that lie
  below the noise are lopsided and hold 86 to 88 % with 20 and 50 documents. α of a curve that is no power law
  depends on which points are clear of the noise.
- *Pairing* saves documents by the factors of the last table."""

LIMITS = """\
The null of shuffled tokens is exact for independent tokens and close where dependence is weak. It fails in two ways,
both of them where pairs are few for the number of cells: neighbours that repeat each other make N pairs worth fewer,
and leave a bias that shuffling does not have (`null="shift"` does); and strong dependence leaves fewer cells to be
sampled, and another bias than either null subtracts. How the estimate moves when groups of documents are left out
shows that bias, about half of it where most pairs have been seen once, and where it is told from zero the error
contains it: the errors below are then larger than the spread, and should be. It is no cure: with 20 documents the
chain's intervals under the null of shuffled tokens still miss most points, and every one of these rows has a larger
error than another null or more documents would give."""


def report(
    bipartite: Sequence[Row], two_point: Sequence[Row], needed: Sequence[tuple[str, float, float]]
) -> Iterator[str]:
    """The tables as Markdown lines."""
    yield INTRODUCTION
    yield from ("", IN_SHORT)
    beyond = {scenario.name for scenario in TWO_POINT_SCENARIOS if not scenario.promised}
    promised = [row for row in two_point if row[0] not in beyond]
    for title, note, show in SECTIONS:
        yield from ("", f"## {title}", "", note, "")
        yield from table(bipartite, show)
        yield ""
        yield from table(promised, show)
    limits = [
        (name, documents, {key: value for key, value in found.items() if "points" in key}, difference)
        for name, documents, found, difference in two_point
        if name in beyond
    ]
    if limits:
        yield from ("", "## Where two-point estimates keep a bias", "", LIMITS)
        for title, _, show in SECTIONS:
            yield from ("", f"{title}:", "")
            yield from table(limits, show)
    yield from ("", "## Documents for a 1 % standard error of β", "")
    yield f"Santa Fe, β 0.75, L = {LENGTHS[0]} … {LENGTHS[-1]}. Partners are counted where they are needed."
    yield from ("", "| estimator | documents | times the best |", "| --- | --- | --- |")
    best = min(count for _, count, _ in needed)
    for name, count, error in needed:
        yield f"| {name} | {count:,.0f} ± {error:,.0f} | {count / best:,.1f} |"
    difference = max(row[3] for row in bipartite)
    yield from ("", f"Largest difference between these sums and a run's own records: {difference:.1e} nats.")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few scenarios, fewer replicates: about a minute"
    )
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    start = time.perf_counter()
    for line in report(*run(QUICK if arguments.quick else FULL, arguments.processes)):
        print(line)
    print(f"\n{time.perf_counter() - start:.0f} s on {arguments.processes} processes.")


if __name__ == "__main__":
    main()
