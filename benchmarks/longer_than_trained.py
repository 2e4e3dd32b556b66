"""Loss by position of one model with several settings, beside its paired difference from the first of them.

    python benchmarks/longer_than_trained.py RESULTS RESULTS ...    # of l2m_position_nll… runs on the same documents

Each row is a bin of positions: the loss of the first run in nats per token, and of each other run what it loses more.
Differences are paired: chunks of one book are one cluster. `docs/effective_context.md` has the commands of the runs.
"""

from __future__ import annotations

import argparse

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.estimators.bipartite import clustered_mean
from l2m_eval.results.load import load_results
from l2m_eval.results.run import POSITION, Results


def losses(run: Results) -> tuple[list[str], np.ndarray, list[int]]:
    """Names of the bins, loss of each document in each of them (D, B), and the source of each document."""
    assert run.documents is not None
    assert run.position is not None
    ends = np.array([record["ends"] for record in run.documents.records])  # (D, B)
    sums = np.array([record["sums"] for record in run.documents.records])
    counts = np.diff(ends, axis=1, prepend=0)
    return list(run.position.names), -sums / counts, [doc["source"] for doc in run.documents.docs]


def table(runs: list[Results], labels: list[str]) -> list[str]:
    """Rows of a Markdown table; the first is the head."""
    places = [
        [(doc["document"], doc["offset"]) for doc in run.documents.docs] for run in runs if run.documents
    ]
    if not places or len(places) < len(runs) or any(other != places[0] for other in places):
        raise L2MError("documents: the runs have no samples logs, or are not of the same documents")
    names, first, sources = losses(runs[0])
    others = [losses(run)[1] - first for run in runs[1:]]
    lines = ["| positions | " + " | ".join(labels) + " |", "| --- |" + " ---: |" * len(labels)]
    for i, name in enumerate(names):
        cells = []
        for terms in (first, *others):
            found = clustered_mean(terms[:, i : i + 1], sources)
            sign = "" if terms is first else "+"
            cells.append(f"{found.value[0]:{sign}.3f} ± {found.standard_error[0]:.3f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", nargs="+", help="what was given to lm_eval as --output_path, the base first"
    )
    arguments = parser.parse_args()
    try:
        runs = [one for given in arguments.results for one in load_results(given) if one.kind == POSITION]
        print("\n".join(table(runs, arguments.results)))
    except L2MError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
