"""The curves: bipartite and two-point mutual information, loss by position.

Every function takes loaded `Results` (one or several), a mapping from labels to curves, or one curve; draws on
`ax`, or on a new figure of column width; and returns the Axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from l2m_eval.condition.law import ScalingLaw, published_law
from l2m_eval.errors import L2MError
from l2m_eval.measurements.curves import (
    BipartiteCurve,
    FittedPositionCurve,
    FittedTwoPointCurve,
    TwoPointFit,
)
from l2m_eval.report.figures.axes import (
    axes_or_new,
    keep_values_in_view,
    legend_below,
    length_axis,
    positive_bars,
    value_axis,
)
from l2m_eval.report.figures.style import INK, PALE, drawing, entry, literal
from l2m_eval.report.labelled import Shown, fit_band, shown_curves
from l2m_eval.results.comparable import same_documents, same_tokenizer
from l2m_eval.results.run import Results

NATS = "mutual information (nats)"


def plot_bipartite(
    curves: Any,
    ax: Any | None = None,
    *,
    name: str = "direct",
    unit: str = "tokens",
    fit: bool = True,
    exact: bool = True,
    references: Sequence[str | ScalingLaw] = (),
) -> Any:
    """I(L) with standard errors, the fitted power law with its 95 % band, and exact curves.

    The band needs the documents' records (a run with ``--log_samples``); without them the fit is a line alone.

    Args:
        curves: Results, a mapping from labels to `BipartiteCurve`, or one such curve.
        ax: Where to draw.
        name: Which curve of the results: ``direct``, ``vclub``, ``direct_r3`` ...
        unit: Of L: ``tokens``, or ``bytes`` of text (the only one in which different tokenizers compare).
        fit: Draw the fits, in tokens.
        exact: Draw exact curves, where the process is known.
        references: Published laws by name (`l2m_eval.condition.law.PUBLISHED`) or as they are.

    Raises:
        L2MError: no such curve, curves that must not be overlaid, or bytes that were not recorded.
    """
    if unit not in ("tokens", "bytes"):
        raise L2MError(f"unit: {unit!r} is not known; give tokens or bytes")
    shown = shown_curves(curves, lambda r: _named(r, name), f"a bipartite curve called {name!r}")
    refuse_incompatible(shown, unit)
    with drawing():
        ax = axes_or_new(ax)
        every = np.concatenate([lengths_in(s.curve, s.label, unit) for s in shown])
        laws = [published_law(law) if isinstance(law, str) else law for law in references]
        if laws and unit != "tokens":
            raise L2MError(f"references: {laws[0].of} was measured in tokens; give unit tokens")
        at = np.geomspace(every.min(), every.max(), 65)
        lines = [law.amplitude * at**law.exponent for law in laws]
        logarithmic = value_axis(ax.yaxis, [*(s.curve.mi for s in shown), *lines], NATS)
        drawn_exact = False
        for s in shown:
            x = lengths_in(s.curve, s.label, unit)
            bars = positive_bars(s.curve.mi, s.curve.standard_error, logarithmic)
            fits = (
                fit and unit == "tokens" and np.isfinite([s.curve.beta.value, s.curve.amplitude.value]).all()
            )
            style = s.look.errorbar | ({"linestyle": "none"} if fits else {})
            ax.errorbar(x, s.curve.mi, bars, label=None if fits else s.text or None, zorder=3, **style)
            if fits:
                _draw_fit(ax, s, x)
            if exact and s.curve.exact is not None:
                label = None if drawn_exact else "exact"
                ax.plot(
                    x, s.curve.exact, color=INK, linestyle=(0, (1, 1)), linewidth=1.4, label=label, zorder=4
                )
                drawn_exact = True
        for law, line in zip(laws, lines, strict=True):
            source = ", ".join(law.of.split(", ")[:2])
            label = literal(f"{source}: {law.amplitude:g} · L^{law.exponent:g}", 50)
            ax.plot(at, line, color=PALE, linewidth=1.0, linestyle=(0, (4, 1.5)), zorder=1, label=label)
        keep_values_in_view(ax, [s.curve.mi for s in shown])
        length_axis(ax.xaxis, every, f"total length L ({unit})")
        legend_below(ax)
    return ax


def plot_two_point(curves: Any, ax: Any | None = None, *, name: str = "two_point", fit: bool = True) -> Any:
    """I(d) with standard errors, the noise floor shaded, and the fit.

    Points that are not positive have no place on the logarithmic axis; they are counted in the legend.

    Args:
        curves: Results, a mapping from labels to `FittedTwoPointCurve`, or one such curve.
        ax: Where to draw.
        name: ``two_point`` of the text, ``two_point_generated`` of what the model writes.
        fit: Draw the law fitted to the points above the floor, or else the one fitted with an offset.

    Raises:
        L2MError: no such curve.
    """
    shown = shown_curves(
        curves, lambda r: next((c for c in r.two_point if c.name == name), None), f"a curve called {name!r}"
    )
    with drawing():
        ax = axes_or_new(ax)
        every = np.concatenate([s.curve.distances for s in shown])
        positive = [s.curve.mi[s.curve.mi > 0] for s in shown]
        floors = [s.curve.floor[np.isfinite(s.curve.floor) & (s.curve.floor > 0)] for s in shown]
        low = min((float(v.min()) for v in (*positive, *floors) if len(v)), default=1e-3)
        value_axis(ax.yaxis, [*positive, *floors], NATS)
        _shade_floors(ax, shown, low / 1.6)
        for s in shown:
            _draw_two_point(ax, s, fit)
        ax.set_ylim(bottom=low / 1.6)
        length_axis(ax.xaxis, every, "distance d (tokens)")
        legend_below(ax)
    return ax


def plot_position_nll(
    curves: Any, ax: Any | None = None, *, unit: str = "tokens", per: str = "token", fit: bool = True
) -> Any:
    """Loss by position, log–log, in bins of positions.

    Args:
        curves: Results, a mapping from labels to `FittedPositionCurve`, or one such curve.
        ax: Where to draw.
        unit: Of the position: ``tokens`` or ``bytes``.
        per: Loss per ``token`` (nats) or per ``byte`` (bits). Different tokenizers compare in bytes alone.
        fit: Draw h + B·t^(β−1) where it was fitted; only in tokens and nats a token.

    Raises:
        L2MError: no such curve, or values that were not recorded.
    """
    if unit not in ("tokens", "bytes") or per not in ("token", "byte"):
        raise L2MError(f"unit, per: {unit!r}, {per!r} are not known; give tokens or bytes, token or byte")
    shown = shown_curves(curves, lambda r: r.position, "a curve of loss by position")
    with drawing():
        ax = axes_or_new(ax)
        values = [s.curve.nll if per == "token" else s.curve.bits_per_byte for s in shown]
        name = "loss (nats per token)" if per == "token" else "loss (bits per byte)"
        logarithmic = value_axis(ax.yaxis, values, name)
        every = []
        drawn_exact = False
        for s, y in zip(shown, values, strict=True):
            x = positions_in(s.curve, s.label, unit)
            if not np.isfinite(y).any():
                raise L2MError(f"per: {s.label} has no bits per byte in its results; give per token")
            errors = s.curve.standard_error if per == "token" else s.curve.bits_per_byte_error
            x = np.where(
                np.isfinite(y) & (x > 0), x, np.nan
            )  # no place on a logarithmic axis for a bin without bytes
            every.append(x[np.isfinite(x)])
            ax.errorbar(
                x, y, positive_bars(y, errors, logarithmic), label=s.text or None, zorder=3, **s.look.errorbar
            )
            if per == "token" and s.curve.exact is not None:
                ax.plot(
                    x, s.curve.exact, color=INK, linestyle=(0, (1, 1)), linewidth=1.4, zorder=4,
                    label=None if drawn_exact else "exact",
                )  # fmt: skip
                drawn_exact = True
            if fit and per == "token" and unit == "tokens":
                _draw_position_fit(ax, s)
        keep_values_in_view(ax, values)
        length_axis(ax.xaxis, np.concatenate(every), f"position ({unit})")
        legend_below(ax)
    return ax


# --- what may be drawn together ---------------------------------------------------------------------------------


def refuse_incompatible(shown: Sequence[Shown[BipartiteCurve]], unit: str = "tokens") -> None:
    """Curves of different meaning are not overlaid.

    Raises:
        L2MError: naming the first setting that differs.
    """
    first = shown[0]
    for s in shown[1:]:
        pairs: list[tuple[str, Any, Any]] = [
            ("estimator", first.curve.estimator, s.curve.estimator),
            ("ratio", first.curve.ratio, s.curve.ratio),
        ]
        if first.results is not None and s.results is not None:
            pairs.append(
                (
                    "correction",
                    first.results.settings.get("correction") or "none",
                    s.results.settings.get("correction") or "none",
                )
            )
        for setting, ours, theirs in pairs:
            if ours != theirs:
                raise L2MError(
                    f"{setting}: {ours!r} for {first.label or 'the first curve'}, {theirs!r} for "
                    f"{s.label or 'another'}; curves of different meaning are not overlaid, draw two figures"
                )
        if unit == "tokens" and known_to_differ(first, s):
            raise L2MError(
                f"unit: {first.label} and {s.label} have different tokenizers, whose lengths in tokens cannot "
                "be compared; give unit bytes"
            )


def known_to_differ(first: Shown[BipartiteCurve], second: Shown[BipartiteCurve]) -> bool:
    """Whether two curves over the same documents, by their bytes or special tokens, are of different tokenizers."""
    if first.results is None or second.results is None:
        return False
    return (
        same_documents(first.results, second.results) is True
        and same_tokenizer(first.results, second.results, first.curve.name) is False
    )


def has_bytes(s: Shown[BipartiteCurve]) -> bool:
    return s.curve.bytes is not None and bool(np.isfinite(s.curve.bytes).all())


def lengths_in(curve: BipartiteCurve, label: str, unit: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Total lengths in tokens or bytes.

    Raises:
        L2MError: bytes were not recorded.
    """
    if unit == "tokens":
        return curve.lengths.astype(float)
    if curve.bytes is None or not np.isfinite(curve.bytes).all():
        raise L2MError(
            f"unit: the results of {label or 'this curve'} do not say how many bytes the lengths cover; measure "
            "again, or give unit tokens"
        )
    return curve.bytes


def positions_in(curve: FittedPositionCurve, label: str, unit: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Where each bin is drawn: the geometric middle of its positions, or its bytes.

    Raises:
        L2MError: bytes were not recorded.
    """
    if unit == "tokens":
        return np.sqrt(curve.first * curve.last)
    if not np.isfinite(curve.byte_position).all():
        raise L2MError(f"unit: the results of {label or 'this curve'} have no bytes; give unit tokens")
    return curve.byte_position


# --- parts ------------------------------------------------------------------------------------------------------


def _named(results: Results, name: str) -> BipartiteCurve | None:
    return next((curve for curve in results.bipartite if curve.name == name), None)


def _draw_fit(ax: Any, s: Shown[BipartiteCurve], x: Any) -> None:
    first, last = s.curve.fit.within
    at = np.geomspace(max(x.min(), first), min(x.max(), last), 65)
    law = s.curve.amplitude.value * at**s.curve.beta.value
    exponent = f"β = {s.curve.beta.value:.2f}"
    if np.isfinite(s.curve.beta.interval).all():
        exponent += f" ({s.curve.beta.interval[0]:.2f} to {s.curve.beta.interval[1]:.2f})"
    # An empty errorbar carries the legend: marker and line in one entry.
    ax.errorbar([], [], [], label=entry(s.label, exponent), **s.look.errorbar)
    ax.plot(at, law, color=s.look.colour, linestyle=s.look.line, linewidth=1.0, zorder=2)
    band = fit_band(s, at)
    if band is not None:
        ax.fill_between(at, *band, color=s.look.colour, alpha=0.15, linewidth=0, zorder=1)


def _shade_floors(ax: Any, shown: Sequence[Shown[FittedTwoPointCurve]], bottom: float) -> None:
    """Each curve's floor in its colour; one grey one where they are all the same."""
    floors = {tuple(s.curve.distances.tolist()) + tuple(s.curve.floor.tolist()): s for s in shown}
    label: str | None = "noise floor"
    for s in floors.values():
        floor = np.where(np.isfinite(s.curve.floor), s.curve.floor, 0.0)
        if not (floor > 0).any():
            continue
        alone = len(floors) == 1
        ax.fill_between(
            s.curve.distances, bottom, np.maximum(floor, bottom), color=PALE if alone else s.look.colour,
            alpha=0.25 if alone else 0.12, linewidth=0, label=label, zorder=0,
        )  # fmt: skip
        label = None


def _draw_two_point(ax: Any, s: Shown[FittedTwoPointCurve], fit: bool) -> None:
    curve = s.curve
    positive = curve.mi > 0
    details = [] if positive.all() else [f"{int((~positive).sum())} not positive"]
    chosen = _chosen_fit(curve) if fit else None
    if chosen is not None:
        alpha = chosen.exponent
        exponent = f"α = {alpha.value:.2f}"
        if np.isfinite(alpha.interval).all():
            exponent += f" ({alpha.interval[0]:.2f} to {alpha.interval[1]:.2f})"
        details.append(exponent)
        at = np.geomspace(min(chosen.distances), max(chosen.distances), 65)
        # An offset is that of the values before the null was subtracted; after it there is none.
        corrected = not np.allclose(curve.uncorrected, curve.mi, equal_nan=True)
        offset = 0.0 if corrected or not np.isfinite(chosen.offset.value) else chosen.offset.value
        law = chosen.amplitude.value * at**-alpha.value + offset
        law = np.where(law > 0, law, np.nan)
        ax.plot(at, law, color=s.look.colour, linestyle=s.look.line, linewidth=1.0, zorder=2)
    label = entry(s.label, ", ".join(details)) if details else s.text or "measured"
    bars = positive_bars(curve.mi[positive], curve.standard_error[positive], True)
    style = s.look.errorbar | ({"linestyle": "none"} if chosen is not None else {})
    ax.errorbar(curve.distances[positive], curve.mi[positive], bars, zorder=3, label=label, **style)
    if curve.exact is not None:
        ax.plot(
            curve.distances, np.where(curve.exact > 0, curve.exact, np.nan), color=INK, linestyle=(0, (1, 1)),
            linewidth=1.4, label="exact", zorder=4,
        )  # fmt: skip


def _chosen_fit(curve: FittedTwoPointCurve) -> TwoPointFit | None:
    """The law fitted to the points above the floor where there is one; else one with an offset."""
    usable = [
        f for f in curve.fits if not f.reason and np.isfinite(f.exponent.value) and len(f.distances) > 1
    ]
    return min(usable, key=lambda f: f.form != "power_law", default=None)


def _draw_position_fit(ax: Any, s: Shown[FittedPositionCurve]) -> None:
    fitted = s.curve.fit
    if fitted is None or fitted.reason or not np.isfinite(fitted.exponent.value):
        return
    used = [i for i, name in enumerate(s.curve.names) if name in fitted.bins]
    if not used:
        return
    at = np.geomspace(s.curve.first[used[0]], s.curve.last[used[-1]], 65)
    law = fitted.entropy_rate.value + fitted.amplitude.value * at ** (fitted.exponent.value - 1)
    ax.plot(at, law, color=s.look.colour, linewidth=0.8, alpha=0.6, zorder=2)
