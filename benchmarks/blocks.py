"""What blocks give and cost: errors and tokens of runs, against the first of them.

    python benchmarks/blocks.py RESULTS RESULTS ...    # folders or files of l2m_bipartite… runs, the base first

Each row is a length of the direct curve: its standard error in each run, and how many times smaller than the first
run's it is; then β, and the tokens fed to the model for each document. `docs/blocks.md` has the commands of the runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from l2m_eval.results.load import load_results
from l2m_eval.results.run import Results


def table(runs: list[Results], curve: str) -> list[str]:
    """Rows of a Markdown table; the first is the head."""
    curves = [run.curve(curve) for run in runs]
    labels = [str(run.settings.get("blocks", 1)) for run in runs]
    heads = [head for label in labels for head in (f"blocks {label}", "I", "error")] + ["error smaller"]
    lines = ["| L | " + " | ".join(heads) + " |", "| ---: |" + " ---: |" * len(heads)]
    for i, length in enumerate(curves[0].lengths.tolist()):
        cells = []
        for one in curves:
            number = 1.0 if one.blocks is None else one.blocks[i]
            cells += [f"{number:g}", f"{one.mi[i]:.2f}", f"{one.standard_error[i]:.3f}"]
        times = curves[0].standard_error[i] / curves[-1].standard_error[i]
        lines.append(f"| {length:,} | " + " | ".join(cells) + f" | {times:.1f} × |")
    cells = []
    for one in curves:
        cells += ["", f"{one.beta.value:.3f}", f"{one.beta.standard_error:.4f}"]
    smaller = curves[0].beta.standard_error / curves[-1].beta.standard_error
    lines.append("| β | " + " | ".join(cells) + f" | {smaller:.1f} × |")
    tokens = [run.metrics["tokens_scored"] for run in runs]
    cells = [cell for number in tokens for cell in ("", "", f"{number:,.0f}")]
    lines.append("| tokens | " + " | ".join(cells) + f" | {tokens[-1] / tokens[0]:.2f} × the tokens |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--curve", default="direct")
    arguments = parser.parse_args()
    found = [next(one for one in load_results(path) if one.bipartite) for path in arguments.results]
    print("\n".join(table(found, arguments.curve)))


if __name__ == "__main__":
    main()
