"""Which fit of a power law is best: bias, spread and coverage of β over many small samples of known processes.

    python benchmarks/validation_fits.py --output docs/validation_fits.md

Documents of `validation_scenarios.py` are drawn once for each scenario; every replicate takes documents of its own,
as a run does, and fits β by each method with its interval. The truth is the same fit to the exact curve, with the
errors of all documents drawn as weights, so that a method is not charged for a process that is no power law over the
range.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from validation_scenarios import SCENARIOS, SEED, Scenario, draw, exact_curve, source_of

from l2m_eval.statistics.clusters import MeanWithError, cluster_sums, linearised_error
from l2m_eval.statistics.intervals import resampled_interval
from l2m_eval.statistics.power_law import fit_power_law

LAWS = [one for one in SCENARIOS if one.name.startswith("Santa Fe")]
DOCUMENTS = (20, 50)
RESAMPLES = 200
# Lengths, curves, their errors, residuals of all clusters → β of each curve.
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def by(method: str) -> Fit:
    """A method of the package; its weights are the errors of the points, of every curve its own."""
    return lambda x, curves, errors, _: fit_power_law(x, curves, errors, method)[1]


def generalised(x: np.ndarray, curves: np.ndarray, _: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Generalised least squares of I, with the covariance of the points from all clusters, shrunk.

    The correlations are shrunk towards none, by the intensity of Schäfer and Strimmer, Stat. Appl. Genet. Mol. Biol.
    4 (2005).
    """
    count = len(residuals)
    errors = linearised_error(residuals)
    if not (errors > 0).all():  # all documents alike at a length, which then has no weight
        return np.full(len(curves), np.nan)
    scores = residuals / residuals.std(axis=0)
    products = scores[:, :, None] * scores[:, None, :]
    correlation = products.mean(axis=0)
    variance = count / (count - 1) ** 3 * ((products - correlation) ** 2).sum(axis=0)
    off = ~np.eye(len(x), dtype=bool)
    intensity = min(1.0, variance[off].sum() / (correlation[off] ** 2).sum())
    shrunk = np.where(off, (1 - intensity) * correlation, 1.0) * np.outer(errors, errors)
    weights = np.linalg.inv(shrunk)
    exponents, step = np.linspace(-3.0, 4.0, 281), 7 / 280
    grid = np.broadcast_to(exponents, (len(curves), len(exponents)))
    for _ in range(4):
        powers = (x / np.exp(np.log(x).mean())) ** grid[..., None]
        weighed = powers @ weights
        products_ = np.einsum("ckp,cp->ck", weighed, curves)
        explained = products_ * np.abs(products_) / np.einsum("ckp,ckp->ck", weighed, powers)
        best = grid[np.arange(len(curves)), explained.argmax(axis=1)]
        grid, step = best[:, None] + np.linspace(-step, step, 21), step / 10
    return best


METHODS: dict[str, Fit] = {
    "loglog, as published": by("loglog"),
    "wls": by("wls"),
    "weighted": by("weighted"),
    "generalised": generalised,
}


def residuals_of(terms: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """What each cluster adds to the deviation of the mean, (clusters, points)."""
    sums, sizes = cluster_sums(terms, clusters)
    return (sums - sizes[:, None] * terms.mean(axis=0)) / len(terms)


def rows_of(scenario: Scenario, replicates: int) -> list[list[str]]:
    """A row for each number of documents and method."""
    pool = max(DOCUMENTS) * replicates
    sums, _ = draw(scenario, pool, 1)
    terms, source = sums["conditional"] - sums["marginal"], source_of(scenario, pool)
    x, exact = np.array(scenario.lengths, float), exact_curve(scenario)[None]
    residuals = residuals_of(terms, source)
    errors = linearised_error(residuals)
    truths = {name: float(fit(x, exact, errors, residuals)[0]) for name, fit in METHODS.items()}
    rows = []
    for documents in DOCUMENTS:
        rng = np.random.default_rng([SEED, documents])
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in METHODS}
        for replicate in range(replicates):
            at = slice(replicate * documents, (replicate + 1) * documents)
            chosen, labels = terms[at], source[at]
            residuals, measured = residuals_of(chosen, labels), MeanWithError(chosen, labels)
            drawn = measured.resampled(rng, RESAMPLES)
            for name, fit in METHODS.items():
                value = float(fit(x, chosen.mean(axis=0)[None], measured.error, residuals)[0])
                betas = fit(x, *drawn, residuals)
                interval = resampled_interval(betas, value, len(residuals))
                found[name].append((value - truths[name], *(end - truths[name] for end in interval)))
        for name, values in found.items():
            rows.append([scenario.name, str(documents), name, *summary(np.array(values))])
    return rows


def summary(values: np.ndarray) -> list[str]:
    """Median and spread of the deviation, coverage, width of the interval, and how often there is no fit."""
    fitted = values[np.isfinite(values[:, 0])]
    low, middle, high = np.quantile(fitted[:, 0], [0.1587, 0.5, 0.8413])
    covered = ((fitted[:, 1] <= 0) & (fitted[:, 2] >= 0)).mean()
    width = float(np.median(fitted[:, 2] - fitted[:, 1]))
    return [
        f"{middle:+.3f}", f"{(high - low) / 2:.3f}", f"{100 * covered:.0f} %", f"{width:.3f}",
        f"{100 * (1 - len(fitted) / len(values)):.0f} %",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--output", type=Path, help="Markdown file to write (default: printed)")
    given = parser.parse_args()
    head = ["process", "documents", "fit", "bias of β", "spread of β", "coverage", "width", "no fit"]
    tables = []
    with ProcessPoolExecutor(2) as workers:
        for blocks in ("auto", 1):
            lines = [f"| {' | '.join(head)} |", f"| --- | ---: | --- |{' ---: |' * 5}"]
            of = partial(rows_of, replicates=given.replicates)
            for rows in workers.map(of, [replace(scenario, blocks=blocks) for scenario in LAWS]):
                lines += [f"| {' | '.join(row)} |" for row in rows]
            tables.append("\n".join(lines))
    text = PAGE.format(several=tables[0], one=tables[1], replicates=given.replicates)
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    else:
        print(text)


PAGE = """# Fits of the exponent, compared

Points of a curve differ in error by up to a factor of ten, and share documents. Four fits of β, on {replicates}
samples of each process:

- *loglog*: ordinary least squares of log I on log L, as published. Every point counts alike, however uncertain; a
  sample with a point that is not positive has no fit.
- *wls*: least squares of I itself, weighted by 1/error².
- *weighted*: the same with errors smoothed over the lengths (a parabola in logarithms).
- *generalised*: least squares of I with the covariance of the points, whose correlations are shrunk.

In every resample of the documents points have errors of their own, and fits weights; the covariance is that of all
documents of the sample.

*Bias* is the median deviation from the same fit to the exact curve, *spread* half the distance of the 16 % and 84 %
quantiles, *coverage* that of the 95 % interval from {replicates} samples (one standard error is 1.3 %), *width* its
median.

## With the blocks of the default

{several}

## With one block of each length

{one}

**What follows.** The weighted fit is the default (`fit: weighted`). With the default blocks its spread is 0.55 to 1.0
times that of the published fit, 0.8 in the median, and its coverage 93 to 98 %; with one block 0.4 to 0.75, 0.6 in
the median, with 93 to 97 %, and it exists where the published fit has none. Its bias is below a tenth of the
interval's width. Raw errors (*wls*) gain nothing more, and with one block and few documents their intervals miss more
often, since the errors of few documents are themselves uncertain; so do those of covariances. These are direct
curves; vCLUB's are in [validation.md](validation.md).

The published fit is `fit: loglog`. Where a curve is not quite a power law, fits differ in what they call β: the
weighted one follows the long lengths, whose relative errors are small. Exponents of different fits are not compared
with each other: `l2m-eval compare` refuses, and results that exist keep theirs.

Made by `python benchmarks/validation_fits.py --output docs/validation_fits.md`.
"""


if __name__ == "__main__":
    main()
