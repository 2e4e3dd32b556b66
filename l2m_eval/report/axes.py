"""What the figures share: an Axes to draw on, ticks at lengths, the legend below, bounds of logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
_MOST_LABELS = 7  # that fit side by side in a column


def axes_or_new(ax: Any | None) -> Any:
    """The given Axes, or one of a new figure of column width."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    """A figure that no window shows and nothing else holds on to, with `columns` Axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def length_axis(axis: Any, lengths: ArrayLike, name: str) -> None:
    """A logarithmic axis of lengths, ticks at powers of two (of ten where it spans many)."""
    values = np.asarray(lengths, float)
    values = values[np.isfinite(values) & (values > 0)]
    axis.axes.set(**{f"{axis.axis_name}label": name})
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log", base=2)
    axis.minorticks_off()
    if len(values) == 0:
        return
    low, high = math.floor(math.log2(values.min()) + 0.01), math.ceil(math.log2(values.max()) - 0.01)
    if high - low > 24:
        tens = range(math.floor(math.log10(values.min())), math.ceil(math.log10(values.max())) + 1)
        step = max(1, math.ceil(len(tens) / _MOST_LABELS))
        axis.set_ticks([10.0**k for k in tens][::step], [power_of_ten(k) for k in tens][::step])
        return
    step = max(1, math.ceil((high - low + 1) / _MOST_LABELS))
    powers = range(high, low - 1, -step)
    axis.set_ticks([2.0**k for k in powers], [short_length(2**k if k >= 0 else 2.0**k) for k in powers])


def short_length(length: float) -> str:
    """``2048``, ``16k`` (of 1024), ``2M``."""
    for unit, size in (("M", 2**20), ("k", 2**10)):
        if length >= max(size, 2**14) and length % size == 0:
            return f"{length / size:,.0f}{unit}"
    return f"{length:,.10g}" if length < 10000 else f"{length:,.0f}"


def short_number(value: float) -> str:
    """``0.05``, ``500``, ``20 k``, ``1.5 M``: thousands and millions of ten."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 10 * size or (value >= size and unit != "k"):
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g}"


def power_of_ten(exponent: int) -> str:
    return f"{10.0**exponent:g}" if -3 <= exponent <= 3 else rf"$10^{{{exponent}}}$"


def value_axis(axis: Any, values: Iterable[ArrayLike], name: str) -> bool:
    """A logarithmic axis where every value is positive, else a linear one; True where logarithmic.

    Between one and two decades matplotlib labels hardly anything; 1, 2, 5 are labelled there.
    """
    all_values = np.concatenate([np.ravel(np.asarray(v, float)) for v in values] or [np.zeros(0)])
    all_values = all_values[np.isfinite(all_values)]
    axis.axes.set(**{f"{axis.axis_name}label": name})
    if len(all_values) == 0 or all_values.min() <= 0:
        return False
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    decade_ticks(axis, float(all_values.min()), float(all_values.max()))
    return True


def decade_ticks(axis: Any, low: float, high: float) -> None:
    """Ticks of a logarithmic axis such that three to eight of them are labelled."""
    spans = math.log10(high / low)
    if spans > 3:
        tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        step = max(1, math.ceil(len(tens) / _MOST_LABELS))
        axis.set_ticks([10.0**k for k in tens][::step], [power_of_ten(k) for k in tens][::step])
    else:
        most = 8 if axis.axis_name == "y" else 5
        if spans > 0.7:
            steps: Sequence[float] = (1, 2, 5) if spans > 1.3 else (1, 1.5, 2, 3, 4, 6, 8)
            first = math.floor(math.log10(low))
            candidates = [s * 10.0**k for k in range(first, first + 5) for s in steps]
            ticks = [t for t in candidates if low / 1.1 <= t <= high * 1.1]
            ticks = ticks[:: max(1, math.ceil(len(ticks) / most))]
        else:
            ticks = _even_ticks(low, high, most)
        axis.set_ticks(ticks, [short_number(t) for t in ticks])
    axis.minorticks_off()


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers at even distances, as many as there is room for."""
    finest = 10.0 ** math.floor(math.log10(max(high - low, high * 1e-6))) / 100
    for step in (finest * 10.0**k * s for k in range(5) for s in (1, 2, 5)):
        first, last = math.ceil(low / step - 0.3), math.floor(high / step + 0.3)
        if 1 <= last - first + 1 <= most:
            return [n * step for n in range(max(first, 1), last + 1)]
    return [low]


def positive_bars(values: Array, errors: Array, logarithmic: bool) -> Array:
    """Error bars, (2, n): on a logarithmic axis the lower end stays a hundredth of the value above zero."""
    spread = np.where(np.isfinite(errors) & (errors > 0), errors, 0.0)
    lower = np.minimum(spread, 0.99 * np.abs(values)) if logarithmic else spread
    return np.stack([lower, spread])


def legend_below(ax: Any, columns: int = 1) -> None:
    """The legend under the axes, where it hides no point; none for nothing to tell apart."""
    entries = list(zip(*ax.get_legend_handles_labels(), strict=True))
    # Measured curves first: matplotlib would name plain lines before them.
    entries.sort(key=lambda entry: not hasattr(entry[0], "has_yerr"))
    if entries:
        ax.legend(
            *zip(*entries, strict=True),
            loc="upper left",
            bbox_to_anchor=(-0.14, -0.2),
            ncols=columns,
            borderaxespad=0.3,
            columnspacing=1.2,
            labelspacing=0.35,
        )
