"""Smaller states: what is kept against their size, and the size that is needed against the length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.measurements.smaller_state import StateCurve
from l2m_eval.report.figures.axes import (
    axes_or_new,
    legend_below,
    length_axis,
    logarithmic_axis,
    new_figure,
)
from l2m_eval.report.figures.style import INK, PALE, Series, drawing, literal, series
from l2m_eval.report.labelled import Shown, shown_curves
from l2m_eval.results.run import Results
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.power_law import fit_power_law

_LOWEST = -0.15  # of the axis of shares: a state that misleads the model keeps less than nothing, without end
_WHAT = "a measurement of smaller states"


def plot_kept_information(curves: Any, axes: Any | None = None) -> Any:
    """Information kept against the bytes of the state: one line for each family of ways, one panel for each length.

    The whole state is the last point of each line. Points that keep far less than nothing lie below the panel.

    Args:
        curves: Results, a mapping from labels to `StateCurve`, or one such curve; all of the same lengths.
        axes: Where to draw, one Axes for each length; a new figure by default.

    Returns:
        The axes, shortest length first.

    Raises:
        L2MError: none of the results is of `l2m_state`, no state was changed in them, or they differ in lengths.
    """
    shown = _with_states(curves)
    lengths = shown[0].curve.lengths
    if any(s.curve.lengths != lengths for s in shown):
        raise L2MError(
            "curves: they have different lengths; draw them one by one, or measure the same lengths"
        )
    with drawing():
        panels = _panels(axes, len(lengths))
        largest = max(float(s.curve.bits.max()) for s in shown)
        divisor, unit = byte_unit(largest / 8)
        for at, (ax, length) in enumerate(zip(panels, lengths, strict=True)):
            ax.axhline(shown[0].curve.keep, color=PALE, linewidth=1.0, linestyle=(0, (4, 1.5)), zorder=1)
            ax.axhline(0, color=PALE, linewidth=0.6, zorder=1)
            for look, label, curve, family in _lines(shown):
                sizes, kept, errors = _points(curve, family, at)
                ax.errorbar(
                    sizes / 8 / divisor, kept, np.nan_to_num(errors), label=label, zorder=3, **look.errorbar
                )
            logarithmic_axis(ax.xaxis)
            ax.set_ylim(_LOWEST, 1.1)
            ax.set_title(f"L = {length:,}", loc="left")
            ax.set_ylabel("share kept")
        panels[-1].set_xlabel(f"state of one sequence ({unit})")
        legend_below(panels[-1])
    return panels


def plot_needed_state(curves: Any, ax: Any | None = None, *, beta: Mapping[str, float] | None = None) -> Any:
    """The bytes that keep the share against the total length, beside the whole state and the growth L^β.

    Args:
        curves: Results, a mapping from labels to `StateCurve`, or one such curve.
        ax: Where to draw.
        beta: By label, the exponent of the information; by default that of the curve's own lengths.

    Raises:
        L2MError: none of the results is of `l2m_state`, or no needed state is known.
    """
    shown = _with_states(curves)
    known = [line for line in _lines(shown) if np.isfinite(_needed_bits(line[2], line[3])[0]).any()]
    if not known:
        raise L2MError(
            "curves: no needed state is known; measure two states of a family (bits4,bits3), or more documents"
        )
    with drawing():
        ax = axes_or_new(ax)
        divisor, unit = byte_unit(max(float(s.curve.bits.max()) for s in shown) / 8)
        for look, label, curve, family in known:
            bits, low, high = (one / 8 / divisor for one in _needed_bits(curve, family))
            bars = np.nan_to_num(np.stack([bits - low, high - bits]), posinf=0.0).clip(0.0)
            exponent = curve.needed[family].size_exponent.value
            growth = f", L^{exponent:.2f}" if np.isfinite(exponent) else ""
            ax.errorbar(curve.lengths, bits, bars, label=f"{label}{growth}", zorder=3, **look.errorbar)
        for number, s in enumerate(shown):
            whole = s.curve.bits / 8 / divisor
            ax.plot(
                s.curve.lengths, whole, color=INK, linewidth=1.0, linestyle=["-", "--", ":"][number % 3], zorder=2,
                label=_joined(s.label if len(shown) > 1 else "", "whole state"),
            )  # fmt: skip
            exponent = (beta or {}).get(s.label, _own_beta(s.curve))
            first = next((line for line in known if line[2] is s.curve), None)
            if first is None or not np.isfinite(exponent):
                continue
            _draw_growth(ax, s, first[3], exponent, divisor, len(shown) > 1)
        length_axis(ax.xaxis, [n for s in shown for n in s.curve.lengths], "total length L (tokens)")
        logarithmic_axis(ax.yaxis)
        ax.set_ylabel(f"state ({unit})")
        legend_below(ax)
    return ax


def byte_unit(largest: float) -> tuple[float, str]:
    """By what bytes are divided so that the largest number is one of few digits, and the unit that this gives."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if largest >= 1024**power / 2:
            return 1024.0**power, unit
    return 1.0, "bytes"


def families_of(curve: StateCurve) -> tuple[str, ...]:
    """The families of ways whose states have a size: all but shorter prompts."""
    return tuple(dict.fromkeys(way.family for way in curve.ways if np.isfinite(way.bits).any()))


def _with_states(curves: Any) -> list[Shown[StateCurve]]:
    def pick(results: Results) -> StateCurve | None:
        return results.state if results.state is not None and families_of(results.state) else None

    shown = [s for s in shown_curves(curves, pick, _WHAT) if families_of(s.curve)]
    if not shown:
        raise L2MError(
            f"curves: none holds {_WHAT} whose sizes are known; measure states such as bits4, window256"
        )
    return shown


def _panels(axes: Any | None, count: int) -> list[Any]:
    if axes is None:
        axes = new_figure(3.3, 1.3 + 1.4 * count, rows=count)[1]
    panels: list[Any] = np.atleast_1d(axes).tolist()
    if len(panels) != count:
        raise L2MError(f"axes: {len(panels)} given for {count} lengths; give one for each")
    return panels


def _lines(shown: Sequence[Shown[StateCurve]]) -> list[tuple[Series, str, StateCurve, str]]:
    """A look and a label for each family of each model."""
    named = len(shown) > 1
    pairs = [(s, family) for s in shown for family in families_of(s.curve)]
    return [
        (series(number), _joined(s.label if named else "", family), s.curve, family)
        for number, (s, family) in enumerate(pairs)
    ]


def _joined(label: str, rest: str) -> str:
    return literal(f"{label}, {rest}" if label else rest)


def _points(curve: StateCurve, family: str, at: int) -> tuple[Array, Array, Array]:
    """Sizes in bits, shares and errors of a family's states that are smaller than the whole one, and that one."""
    members = sorted(
        (way for way in curve.ways if way.family == family and way.bits[at] < curve.bits[at]),
        key=lambda way: float(way.bits[at]),
    )
    sizes = np.array([*(way.bits[at] for way in members), curve.bits[at]])
    kept = np.array([*(way.found.kept[at] for way in members), 1.0])
    return sizes, kept, np.array([*(way.found.kept_error[at] for way in members), 0.0])


def _needed_bits(curve: StateCurve, family: str) -> tuple[Array, Array, Array]:
    """Needed bits and the ends of their interval, (lengths,); NaN where they are not known."""
    needed = curve.needed.get(family)
    if needed is None:
        unknown = np.full(len(curve.lengths), np.nan)
        return unknown, unknown, unknown
    ends = np.array([one.interval for one in needed.sizes], float)
    return np.array([one.value for one in needed.sizes], float), ends[:, 0], ends[:, 1]


def _own_beta(curve: StateCurve) -> float:
    positive = curve.mi > 0
    if positive.sum() < 2:
        return float("nan")
    lengths = np.array(curve.lengths, float)[positive]
    return float(fit_power_law(lengths, curve.mi[positive], method="loglog")[1][0])


def _draw_growth(
    ax: Any, s: Shown[StateCurve], family: str, exponent: float, divisor: float, named: bool
) -> None:
    """L^β through the needed states of a family, in the middle of them on the logarithm's scale."""
    bits = _needed_bits(s.curve, family)[0] / 8 / divisor
    known = np.isfinite(bits) & (bits > 0)
    lengths = np.array(s.curve.lengths, float)
    level = float(np.exp(np.mean(np.log(bits[known]) - exponent * np.log(lengths[known]))))
    ax.plot(
        lengths, level * lengths**exponent, color=PALE, linewidth=1.2, linestyle=(0, (1, 1)), zorder=1,
        label=_joined(s.label if named else "", f"growth of the information, L^{exponent:.2f}"),
    )  # fmt: skip
