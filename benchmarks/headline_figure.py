"""README's figure: two models that loss cannot tell apart and mutual information can, side by side.

    python benchmarks/headline_figure.py examples/results [--output docs/figures/headline.svg]

Left the loss by position, right the bipartite curves, of the same models on the same documents. The runs behind
it are in examples/make.sh.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from l2m_eval import load_results, plot_bipartite, plot_position_nll
from l2m_eval.errors import L2MError
from l2m_eval.report.comparison import position_difference
from l2m_eval.report.figures.axes import new_figure
from l2m_eval.report.figures.style import drawing
from l2m_eval.report.figures.svg import svg_text
from l2m_eval.report.labelled import Shown

MODELS = ("books-llama-5m", "books-swa64-5m")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", help="what was given to lm_eval as --output_path")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--output", type=Path, default=Path("docs/figures/headline.svg"))
    arguments = parser.parse_args()
    try:
        results = load_results(arguments.results)
        measured = [one for model in arguments.models for one in results if one.run.label == model]
        curves = [one for one in measured if one.kind == "bipartite"]
        losses = [one for one in measured if one.position is not None]
        with drawing():
            figure, (left, right) = new_figure(6.6, 2.9, columns=2)
            plot_position_nll(losses, left)
            plot_bipartite(curves, right)
            left.set_title("The same loss at every position …", loc="left")
            right.set_title("… and not the same use of what was read", loc="left")
        for one in losses:
            assert one.position is not None
            last = f"{one.position.nll[-1]:.3f} ± {one.position.standard_error[-1]:.3f}"
            print(f"{one.run.label}: {last} nats a token at positions {one.position.names[-1]}")
        if len(losses) == 2:
            pair = [Shown(one.run.label, one.position, i, one) for i, one in enumerate(losses)]
            difference = position_difference(*pair)
            print(
                f"mean loss, paired difference: {difference.value:.4f} ± {difference.standard_error:.4f} nats a token"
            )
        for one in curves:
            curve = one.curve("direct")
            last = f"{curve.mi[-1]:.2f} ± {curve.standard_error[-1]:.2f}"
            print(f"{one.run.label}: I = {last} nats at L = {curve.lengths[-1]:g}")
    except L2MError as error:
        parser.error(str(error))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(svg_text(figure), encoding="utf-8")
    print(arguments.output)


if __name__ == "__main__":
    main()
