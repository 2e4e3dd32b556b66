"""What the figures share: an Axes to draw on, ticks at lengths, the legend below, bounds of logarithmic axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.statistics.arrays import Array

_MOST_LABELS = 7  # that fit side by side in a column
_SHORT_LABEL = 20  # two of which fit side by side in a legend


def axes_or_new(ax: Any | None) -> Any:
    """The given Axes, or one of a new figure of column width."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """A figure that no window shows and nothing else holds on to, with Axes in rows and columns."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, sharex=rows > 1)


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
    """``0.05``, ``500``, ``20 k``, ``1.5 M``: thousands and millions of ten; a power of ten below a thousandth."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 10 * size or (value >= size and unit != "k"):
            return f"{value / size:.4g} {unit}"
    if 0 < value < 1e-3:
        exponent = math.floor(math.log10(value) + 1e-9)
        return rf"${value / 10.0**exponent:.3g} \cdot 10^{{{exponent}}}$"
    return f"{value:.4g}"


def power_of_ten(exponent: int) -> str:
    return f"{10.0**exponent:g}" if -3 <= exponent <= 3 else rf"$10^{{{exponent}}}$"


def value_axis(axis: Any, values: Iterable[ArrayLike], name: str) -> bool:
    """A logarithmic axis where every value is positive, else a linear one; True where logarithmic."""
    all_values = _finite(values)
    axis.axes.set(**{f"{axis.axis_name}label": name})
    if len(all_values) == 0 or all_values.min() <= 0:
        return False
    logarithmic_axis(axis)
    return True


def logarithmic_axis(axis: Any) -> None:
    """A logarithmic axis whose ticks are round numbers, whatever part of it is shown in the end."""
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_major_locator(_round_ticks(8 if axis.axis_name == "y" else 5))
    axis.set_major_formatter(_short_labels())
    axis.minorticks_off()


def keep_values_in_view(ax: Any, values: Iterable[ArrayLike]) -> None:
    """End a logarithmic y axis a little below the least value, however far down an error bar reaches."""
    all_values = _finite(values)
    if ax.get_yscale() == "log" and len(all_values):
        ax.set_ylim(bottom=max(ax.get_ylim()[0], float(all_values.min()) / 3))


def _finite(values: Iterable[ArrayLike]) -> Array:
    every = np.concatenate([np.ravel(np.asarray(v, float)) for v in values] or [np.zeros(0)])
    finite: Array = every[np.isfinite(every)]
    return finite


def _round_ticks(most: int) -> Any:
    """A locator of `round_numbers` for the part of an axis that is shown."""
    from matplotlib.ticker import Locator

    class RoundTicks(Locator):
        def __call__(self) -> list[float]:
            return self.tick_values(*self.axis.get_view_interval())  # type: ignore[union-attr]

        def tick_values(self, vmin: float, vmax: float) -> list[float]:
            return round_numbers(vmin, vmax, most)

    return RoundTicks()


def _short_labels() -> Any:
    """A formatter: powers of ten where an axis spans many, short numbers otherwise."""
    from matplotlib.ticker import Formatter

    class ShortLabels(Formatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return short_number(x)

        def format_ticks(self, values: Sequence[float]) -> list[str]:
            exponents = [math.log10(value) for value in values]
            whole = all(abs(exponent - round(exponent)) < 1e-9 for exponent in exponents)
            if whole and len(values) > 1 and max(exponents) - min(exponents) > 3:
                return [power_of_ten(round(exponent)) for exponent in exponents]
            return [self(value) for value in values]

    return ShortLabels()


_STEPS = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))


def round_numbers(low: float, high: float, most: int) -> list[float]:
    """Round numbers from `low` to `high` that are nowhere closer on a logarithmic axis than `most` even ones are.

    At even distances where the axis spans less than half a decade, else 1, 2, 5 and the like of each decade, or every
    second, third ... decade.
    """
    low, high = sorted((low, high))
    if not (0 < low < high < math.inf):
        return []
    decades = math.log10(high / low)
    closest = 0.9 * decades / most
    candidates: list[list[float]] = []
    if decades < 0.5:
        finest = 10.0 ** math.floor(math.log10((high - low) / most))
        for step in (finest * s for s in (1, 2, 5, 10, 20, 50)):
            numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
            candidates.append([n * step for n in numbers])
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in _STEPS:
        every = [s * 10.0**k for k in range(first, last + 1) for s in steps]
        candidates.append([t for t in every if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)])
    tens = candidates[-1]
    candidates += [tens[:: n + 1] for n in range(1, len(tens))]
    for ticks in candidates:
        if len(ticks) > 1 and min(math.log10(b / a) for a, b in itertools.pairwise(ticks)) >= closest:
            return ticks
    return max(candidates, key=lambda ticks: (len(ticks) <= most, len(ticks)))


def positive_bars(values: Array, errors: Array, logarithmic: bool) -> Array:
    """Error bars, (2, n): on a logarithmic axis the lower end stays a hundredth of the value above zero."""
    spread = np.where(np.isfinite(errors) & (errors > 0), errors, 0.0)
    lower = np.minimum(spread, 0.99 * np.abs(values)) if logarithmic else spread
    return np.stack([lower, spread])


def legend_below(ax: Any) -> None:
    """The legend under the axes, where it hides no point; none for nothing to tell apart.

    In two columns where many entries are short enough for it.
    """
    entries = list(zip(*ax.get_legend_handles_labels(), strict=True))
    # Measured curves first: matplotlib would name plain lines before them.
    entries.sort(key=lambda entry: not hasattr(entry[0], "has_yerr"))
    if entries:
        columns = 2 if len(entries) > 4 and max(len(label) for _, label in entries) <= _SHORT_LABEL else 1
        ax.legend(
            *zip(*entries, strict=True),
            loc="upper left",
            bbox_to_anchor=(-0.14, -0.2),
            ncols=columns,
            borderaxespad=0.3,
            columnspacing=1.2,
            labelspacing=0.35,
        )
