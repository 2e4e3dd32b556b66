"""README's figure: bipartite curves of several models from the harness' results files.

python benchmarks/headline_figure.py out [--output docs/figures/headline.svg]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

COLOURS = ("#0072b2", "#d55e00", "#009e73")  # Okabe and Ito: told apart by every kind of colour vision
MARKERS = ("o", "s", "^")


def direct_curves(folder: Path) -> dict[str, dict]:
    """The newest direct curve of each model under `folder`."""
    curves = {}
    for file in sorted(folder.rglob("results_*.json"), key=lambda path: path.stat().st_mtime):
        results = json.loads(file.read_text())
        for config in results["configs"].values():
            for curve in config.get("l2m", {}).get("curves", []):
                if curve["name"] == "direct":
                    curves[Path(results["config"]["model_args"]["pretrained"]).name] = curve
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="folder given to lm_eval as --output_path")
    parser.add_argument("--output", type=Path, default=Path("docs/figures/headline.svg"))
    arguments = parser.parse_args()
    curves = direct_curves(arguments.results)
    if not curves:
        parser.error(f"no results of a bipartite task under {arguments.results}")
    plt.rcParams["svg.hashsalt"] = "l2m-eval"
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for (model, curve), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=False):
        label = f"{model}: β = {curve['beta']:.2f} ({curve['beta_interval'][0]:.2f} to {curve['beta_interval'][1]:.2f})"
        axes.errorbar(
            curve["lengths"], curve["mi"], curve["standard_error"],
            color=colour, marker=marker, markersize=5, capsize=3, label=label,
        )  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="total length L (tokens)",
        ylabel="mutual information of the halves (nats)",
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(curve["lengths"], [str(length) for length in curve["lengths"]])
    axes.set_yticks([4, 6, 8, 10, 15, 20], ["4", "6", "8", "10", "15", "20"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, metadata={"Date": None})
    print(arguments.output)


if __name__ == "__main__":
    main()
