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


def late_losses(folder: Path) -> dict[str, str]:
    """Loss of each model's newest samples log on the right block of the longest length, nats a token."""
    losses = {}
    for file in sorted(folder.rglob("samples_*bipartite*.jsonl"), key=lambda path: path.stat().st_mtime):
        records = [json.loads(json.loads(line)["resps"][0][0]) for line in file.read_text().splitlines()]
        _, left, total = records[0]["cells"][-1]
        mean = -sum(record["conditional"][-1] for record in records) / len(records) / (total - left)
        model = file.parent.name.split("__")[-1]
        losses[model] = f"{mean:.3f} nats a token at positions {left + 1} to {total}"
    return losses


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
    for model, loss in late_losses(arguments.results).items():
        print(f"{model}: {loss}")
    lengths = next(iter(curves.values()))["lengths"]
    for (model, curve), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=False):
        low, high = curve["beta_interval"]
        label = f"{model}: β = {curve['beta']:.2f} ({low:.2f} to {high:.2f})"
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
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.set_yticks([4, 6, 8, 10, 15, 20], ["4", "6", "8", "10", "15", "20"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, metadata={"Date": None})
    print(arguments.output)


if __name__ == "__main__":
    main()
