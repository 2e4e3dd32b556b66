"""The experiment's figure: divergence against length, against position, and against information per state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l2m_eval.experiments.results import TrainedResult
from l2m_eval.report.figures.axes import length_axis, new_figure, positive_bars, value_axis
from l2m_eval.report.figures.style import drawing, series

KL_NAME = "KL per token (nats)"


def draw_results(results: Sequence[TrainedResult], file: Path) -> Path:
    """Three panels of one variant's results, as SVG."""
    with drawing():
        figure, (by_length, by_position, by_state) = new_figure(7.4, 2.9, columns=3)
        models = list(dict.fromkeys(result.model for result in results))
        logarithmic = [
            value_axis(ax.yaxis, _values(results), KL_NAME) for ax in (by_length, by_position, by_state)
        ]
        for number, model in enumerate(models):
            own = sorted((r for r in results if r.model == model), key=lambda r: r.length)
            look = series(number)
            _points(by_length, [r.length for r in own], own, look, logarithmic[0], model)
            longest = own[-1]
            middle = [np.sqrt(first * last) for _, first, last in longest.bins]
            bars = positive_bars(np.array(longest.kl_by_bin), np.array(longest.error_by_bin), logarithmic[1])
            by_position.errorbar(middle, longest.kl_by_bin, bars, **look.errorbar)
            _points(by_state, [r.information_per_element for r in own], own, look, logarithmic[2], None)
        length_axis(by_length.xaxis, [r.length for r in results], "length L (tokens)")
        length_axis(by_position.xaxis, [1, max(r.length for r in results)], "position (tokens)")
        value_axis(
            by_state.xaxis,
            [[r.information_per_element for r in results]],
            "I(L/2; L) / state (nats per element)",
        )
        by_position.set_ylabel("")
        by_state.set_ylabel("")
        by_length.set_title("models of each length")
        by_position.set_title("models of the longest length")
        by_state.set_title("models of each length")
        figure.legend(loc="outside lower center", ncols=min(4, len(models)))
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None})
    return file


def _points(
    ax: Any, x: Sequence[float], own: Sequence[TrainedResult], look: Any, log: bool, label: str | None
) -> None:
    values = np.array([r.kl for r in own])
    bars = positive_bars(values, np.array([r.kl_error for r in own]), log)
    ax.errorbar(x, values, bars, label=label, **look.errorbar)


def _values(results: Sequence[TrainedResult]) -> list[Any]:
    """All values of the figure; those below a millionth of a nat are left out of a logarithmic axis' range."""
    floor = 1e-6
    return [[max(r.kl, floor) for r in results], [max(v, floor) for r in results for v in r.kl_by_bin]]
