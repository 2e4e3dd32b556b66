"""Test the effective context against planted memories, repeated many times.

    python benchmarks/validation_effective_context.py            # the tables of docs/validation_effective_context.md
    python benchmarks/validation_effective_context.py --quick    # a tenth of the replicates

The model is the mixing Santa Fe process with a planted memory of w tokens (`--model l2m-oracle --model_args
process=santa_fe,memory=w`), whose curves are known exactly: by growth they end at L = 2w, by retention at k = w. A
pool of documents is scored once, each column of its terms is shifted to the exact mean, and every replicate draws
its documents from the pool: the truth of a replicate is the exact curve, and its scatter that of real terms. The
last rows take the scatter from a trained model instead: the terms of books-swa64-5m on 48 chunks of books, shifted
to a curve that ends where it is planted to end.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from l2m_eval.condition.effective_context import effective_context
from l2m_eval.estimators.retention import context_needed, retention_curve
from l2m_eval.processes import LimitedMemory, SantaFe
from l2m_eval.statistics.arrays import Array

SEED = 20251
DOCUMENTS = (20, 50, 200)
MEMORIES = (32, 128, 512, 1024)
LENGTHS = tuple(4 * 2**k for k in range(10))  # 4 ... 2048
CONTEXTS = (0, 16, 32, 64, 128, 256, 512, 1024, 2048)
TARGET = 256
SHARE = 0.95
GROWTH_HEADER = (
    "curve", "ends at L", "documents", "found", "exactly", "at least half", "beyond the end", "below the upper bound",
    "false fall",
)  # fmt: skip
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "results" / "books-swa64-5m"


@dataclass(frozen=True)
class GrowthPool:
    """Terms of documents whose mean is the exact curve, and the length at which it ends (inf: it does not)."""

    name: str
    terms: Array
    end: float


def growth_pool(memory: int, documents: int, seed: int) -> GrowthPool:
    process = LimitedMemory(SantaFe(), memory)
    rng = np.random.default_rng([seed, memory])
    terms = np.empty((documents, len(LENGTHS)))
    for start in range(0, documents, 250):
        tokens = process.sample(min(250, documents - start), LENGTHS[-1], rng)
        whole = np.cumsum(process.log_probs(tokens), axis=1)
        for column, length in enumerate(LENGTHS):
            left = length // 2
            conditional = whole[:, length - 1] - whole[:, left - 1]
            marginal = process.log_probs(tokens[:, left:length]).sum(axis=1)
            terms[start : start + len(tokens), column] = conditional - marginal
    exact = np.array([process.bipartite_mi(length // 2, length) for length in LENGTHS])
    end = 2 * memory if 2 * memory < LENGTHS[-1] else math.inf
    return GrowthPool(f"Santa Fe, memory {memory}", terms - terms.mean(axis=0) + exact, end)


def example_pools() -> list[GrowthPool]:
    """The scatter of a trained model's terms around planted curves."""
    from l2m_eval.results.load import load_results

    for results in load_results(EXAMPLE):
        found = results.bipartite_terms("direct") if results.bipartite else None
        if found is not None:
            scatter = found[0] - found[0].mean(axis=0)
            height = 3.0 * np.log2(np.minimum(LENGTHS, 64) / 2)
            return [
                GrowthPool("books-swa64-5m's scatter, no growth", scatter + 5.0, LENGTHS[0]),
                GrowthPool("books-swa64-5m's scatter, growth to 64", scatter + height, 64),
            ]
    return []


def growth_rows(pool: GrowthPool, replicates: int, seed: int) -> list[list[str]]:
    rows = []
    for documents in DOCUMENTS:
        rng = np.random.default_rng([seed, documents])
        found = [
            effective_context(
                LENGTHS,
                pool.terms[rng.integers(len(pool.terms), size=documents)],
                np.arange(documents),
                rng=rng,
            )
            for _ in range(replicates)
        ]
        values = np.array([one.value for one in found])
        over = np.mean(values > pool.end)
        error = math.sqrt(max(over * (1 - over), 0.05 * 0.95) / replicates)
        last = LENGTHS[-1] if math.isinf(pool.end) else pool.end
        covered = np.mean([one.upper >= last for one in found])
        rows.append(
            [
                pool.name,
                "none" if math.isinf(pool.end) else f"{pool.end:,.0f}",
                str(documents),
                f"{np.median(values):,.0f}",
                f"{100 * np.mean(values == last):.0f} %",
                f"{100 * np.mean(values >= last / 2):.0f} %",
                "" if math.isinf(pool.end) else f"{100 * over:.1f} ± {100 * error:.1f} %",
                f"{100 * covered:.0f} %",
                ""
                if math.isinf(pool.end)
                else f"{100 * np.mean([o.falls_beyond is not None for o in found]):.1f} %",
            ]
        )
    return rows


def retention_rows(memory: int, pool_size: int, replicates: int, seed: int) -> list[list[str]]:
    process = LimitedMemory(SantaFe(), memory)
    rng = np.random.default_rng([seed, memory, 1])
    log_probs = np.empty((pool_size, len(CONTEXTS)))
    for start in range(0, pool_size, 250):
        tokens = process.sample(min(250, pool_size - start), CONTEXTS[-1] + TARGET, rng)
        for column, k in enumerate(CONTEXTS):
            scored = process.log_probs(tokens[:, CONTEXTS[-1] - k :])[:, k:]
            log_probs[start : start + len(tokens), column] = scored.sum(axis=1)
    exact = np.array([process.bipartite_mi(k, k + TARGET) if k else 0.0 for k in CONTEXTS])
    gained = log_probs - log_probs[:, :1]
    gained += exact - gained.mean(axis=0)
    truth = float(context_needed(CONTEXTS, exact, SHARE)[0])
    half = CONTEXTS.index(memory // 2)
    rows = []
    for documents in DOCUMENTS:
        rng = np.random.default_rng([seed, documents, 2])
        inside, values, errors, kept = 0, [], [], 0
        for _ in range(replicates):
            curve = retention_curve(
                CONTEXTS, gained[rng.integers(pool_size, size=documents)], TARGET, np.arange(documents),
                shares=(SHARE,), rng=rng,
            )  # fmt: skip
            needed = curve.needed[SHARE]
            inside += needed.interval[0] <= truth <= needed.interval[1]
            values.append(needed.value)
            errors.append(needed.standard_error)
            kept += abs(curve.kept[half] - exact[half] / exact[-1]) <= 1.96 * curve.kept_error[half]
        rows.append(
            [
                f"Santa Fe, memory {memory}",
                str(documents),
                f"{truth:,.0f}",
                f"{np.nanmean(values):,.0f} ± {np.nanstd(values):,.0f}",
                f"{np.nanmean(errors):,.0f}",
                f"{100 * inside / replicates:.0f} %",
                f"{100 * kept / replicates:.0f} %",
            ]
        )
    return rows


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join(["---"] * len(header)) + " |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def report(growth: list[list[str]], retention: list[list[str]], replicates: int, command: str) -> str:
    return f"""# Validation of the effective context

Planted memories, {replicates} replicates per row: `{command}`. The docstring of
`benchmarks/validation_effective_context.py` describes what is planted and how;
[effective_context.md](effective_context.md) explains the numbers.

## By growth

*Found* is the median of the effective context. *Exactly* is the share of runs that find the planted end, *at least
half* the share that find at least half of it: detecting small growth needs many documents. *Beyond the end* is the
share of runs whose effective context is too long, with its Monte-Carlo error (promised: at most 5 %). *Below the
upper bound* is the share of runs whose upper bound lies at or beyond the end (promised: 95 %, if the curve is a power
law up to its end, which these are only approximately). *False fall* is the share of runs that report a fall of the
information for a curve that does not fall.

{table(GROWTH_HEADER, growth)}

## By retention

The context needed to keep {100 * SHARE:g} % of the information that {CONTEXTS[-1]:,} tokens carry about the next
{TARGET}: its exact value, mean
and spread of the replicates, mean of their standard errors, and the share of 95 % intervals that contain the exact
value. The last column is how often the share kept by half the memory is within 1.96 of its own standard errors.

{table(("curve", "documents", "exact", "found", "standard error", "interval contains it", "share kept"), retention)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the replicates")
    parser.add_argument("--output", type=Path, help="write the tables here instead of printing them")
    given = parser.parse_args()
    replicates, pool_size = (40, 500) if given.quick else (400, 3000)
    started = time.perf_counter()
    growth: list[list[str]] = []
    pools = [growth_pool(memory, pool_size, SEED) for memory in MEMORIES] + example_pools()
    for number, pool in enumerate(pools):
        growth += growth_rows(pool, replicates, SEED + number)
        print(json.dumps(growth[-3:]), file=sys.stderr)
    retention: list[list[str]] = []
    for memory in MEMORIES[:3]:
        retention += retention_rows(memory, pool_size, replicates, SEED)
        print(json.dumps(retention[-3:]), file=sys.stderr)
    command = "python benchmarks/validation_effective_context.py" + (" --quick" if given.quick else "")
    text = report(growth, retention, replicates, command)
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    else:
        print(text)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
