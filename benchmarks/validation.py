"""Repeat the measurements many times on processes with known values, and test the estimators and their errors.

    python benchmarks/validation.py            # docs/validation.md: hundreds of replicates, two processes
    python benchmarks/validation.py --quick    # the same table in about a minute, coarser

Every replicate is a measurement as the tasks make it: documents, their sums of exact log-probabilities, and then
the code that the tasks run on the records of a model (`l2m_eval.measurements.bipartite.bipartite_curves`,
`l2m_eval.estimators.position`, `l2m_eval.estimators.two_point.curve`). What stands in for the model is the process
itself, so the expectation of an estimate is the exact value, and any deviation is due to the estimator. One replicate
of each setting goes through the tasks' windows, a scorer and the oracle model (`task_records`), to check that the
sums are those of a run of the harness.

For each quantity: bias, with its Monte-Carlo error; the mean standard error over the true spread of the replicates;
and how often the 95 % interval contains the true value. The true value of a fitted exponent is the same fit to the
exact curve, also where that is not a power law.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from validation_quantities import (
    bipartite_quantities,
    documents_for_one_percent,
    loss_quantities,
    two_point_quantities,
)
from validation_scenarios import (
    DOCUMENTS,
    SCENARIOS,
    TWO_POINT_SCENARIOS,
    Scenario,
    TwoPointScenario,
    draw,
    same_as_the_task,
)
from validation_tables import Row, report


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


def run(
    preset: Preset, processes: int = 2
) -> tuple[list[Row], list[Row], dict[str, list[tuple[str, float, float]]]]:
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
        needed = {
            name: pool.submit(
                documents_for_one_percent, replace(SCENARIOS[1], blocks=blocks), preset.efficiency, 5000
            )
            for name, blocks in (("blocks of the default", "auto"), ("one block", 1))
        }
        return (
            [row for future in bipartite for row in future.result()],
            [row for future in two_point for row in future.result()],
            {name: future.result() for name, future in needed.items()},
        )


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
