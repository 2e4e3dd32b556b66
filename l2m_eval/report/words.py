"""What a figure shows, in sentences with their uncertainty. Numbers are those of the results; nothing is judged
beyond what an interval says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2m_eval.estimators.goodness import REJECTED
from l2m_eval.report.comparison import PairedDifference
from l2m_eval.report.shown import Shown
from l2m_eval.report.tables import with_error
from l2m_eval.rival_shapes import POWER_LAW, ShapeFit
from l2m_eval.saved_curves import (
    Estimate,
    SavedBipartiteCurve,
    SavedPositionCurve,
    SavedTwoPointCurve,
    SavedTwoPointFit,
)


def interval_in_words(estimate: Estimate, digits: int = 2) -> str:
    """``0.29 (95 % interval 0.25 to 0.33)``."""
    if not math.isfinite(estimate.value):
        return "unknown"
    text = f"{estimate.value:.{digits}f}"
    if all(math.isfinite(end) for end in estimate.interval):
        return (
            f"{text} (95 % interval {estimate.interval[0]:.{digits}f} to {estimate.interval[1]:.{digits}f})"
        )
    return f"{text} (no interval known)"


def bipartite_sentence(s: Shown[SavedBipartiteCurve], documents: int | None) -> str:
    """One curve: from where to where it goes, how it grows, what it rests on."""
    c = s.curve
    first, last = with_error(c.mi[0], c.standard_error[0]), with_error(c.mi[-1], c.standard_error[-1])
    text = f"{s.label}: from {first} nats at L = {c.lengths[0]:,.0f} tokens to {last} at L = {c.lengths[-1]:,.0f}"
    if math.isfinite(c.beta.value):
        text += f"; fitted I = A·L^β with β = {interval_in_words(c.beta)}, A = {interval_in_words(c.amplitude)} nats"
        text += "" if c.fit != "wls" else ", fitted to I weighted by its errors"
    else:
        text += "; no power law could be fitted"
    text += f". It rests on {_documents(documents)}{c.clusters} independent groups of them."
    if c.not_positive:
        text += f" The estimate is not positive at L = {', '.join(f'{n:,}' for n in c.not_positive)}."
    if c.exact is not None:
        text += " " + _against_exact(c.lengths, c.mi, c.standard_error, c.exact, "L = ")
        if c.beta_exact is not None:
            text += f" The same fit gives the exact curve β = {c.beta_exact:.3f}."
    return text


def two_point_sentence(s: Shown[SavedTwoPointCurve]) -> str:
    """One curve: its ends, where it meets the noise floor, its decay."""
    c = s.curve
    text = (
        f"{s.label}: {with_error(c.mi[0], c.standard_error[0])} nats between tokens {c.distances[0]:,.0f} apart, "
        f"{with_error(c.mi[-1], c.standard_error[-1])} at {c.distances[-1]:,.0f}"
    )
    below = c.distances[np.isfinite(c.floor) & (c.mi <= c.floor)]
    if len(below) and np.isfinite(c.floor).any():
        text += (
            f"; at or below the noise floor from d = {below[0]:,.0f} on"
            if _to_the_end(c, below)
            else (f"; at or below the noise floor at d = {', '.join(f'{d:,.0f}' for d in below)}")
        )
    elif np.isfinite(c.floor).any():
        text += "; above the noise floor everywhere"
    text += ". " + (" ".join(_two_point_fit(fit) for fit in c.fits) or "No law was fitted.")
    if c.groups:
        text += f" It rests on {c.documents:,} documents in {c.groups:,} groups."
    if c.exact is not None:
        text += " " + _against_exact(c.distances, c.mi, c.standard_error, c.exact, "d = ")
    return text


def position_sentence(s: Shown[SavedPositionCurve]) -> str:
    """One curve: overall loss, what context gains, the exponent that its approach implies."""
    c = s.curve
    text = f"{s.label}:"
    if c.overall is not None:
        text += f" mean loss {with_error(c.overall.value, c.overall.standard_error)} nats per token"
        if c.overall_bits_per_byte is not None and math.isfinite(c.overall_bits_per_byte.value):
            bits = c.overall_bits_per_byte
            text += f" ({with_error(bits.value, bits.standard_error)} bits per byte)"
        text += ";"
    text += (
        f" {with_error(c.nll[0], c.standard_error[0])} nats at position{_positions(c, 0)}, "
        f"{with_error(c.nll[-1], c.standard_error[-1])} at position{_positions(c, -1)}"
    )
    if c.context_gain is not None and math.isfinite(c.context_gain.value):
        gain = c.context_gain
        text += f"; context gains {with_error(gain.value, gain.standard_error)} nats per token"
    text += f". It rests on {c.documents:,} documents from {c.clusters:,} sources."
    if c.fit is not None:
        if c.fit.reason or not math.isfinite(c.fit.exponent.value):
            text += f" No approach h + B·t^(β−1) was fitted{': ' + c.fit.reason if c.fit.reason else ''}."
        else:
            text += (
                f" The approach h + B·t^(β−1) has h = {interval_in_words(c.fit.entropy_rate)} nats and "
                f"β = {interval_in_words(c.fit.exponent)}."
            )
    if c.exact is not None:
        text += " " + _against_exact(np.sqrt(c.first * c.last), c.nll, c.standard_error, c.exact, "position ")
    return text


def shapes_sentence(label: str, fits: Sequence[ShapeFit]) -> str:
    """Which shape leaves least, and how sure that is."""
    ranked = sorted(fits, key=lambda fit: fit.misfit)
    best, second = ranked[0], ranked[1]
    text = (
        f"{label}: of four shapes with two parameters each, the {best.shape} leaves least (weighted sum of squared "
        f"residuals {best.misfit:.3g}, {second.shape} {second.misfit:.3g})"
    )
    shares = [fit for fit in ranked if math.isfinite(fit.best_share)]
    if not shares:
        return text + "; how sure that is, only the documents' records (--log_samples) could tell."
    told = ", ".join(f"{fit.shape} {100 * fit.best_share:.0f} %" for fit in shares)
    power = next(fit for fit in fits if fit.shape == POWER_LAW)
    sure = (
        "a power law is nearest, and yet these documents reject it: the exponent sums up this range alone"
        if power.best_share >= 0.95 and power.p_value < REJECTED
        else "a power law is what these documents support"
        if power.best_share >= 0.95
        else "these documents speak against a power law"
        if power.best_share <= 0.05
        else "these documents do not decide whether it is a power law"
    )
    fits_at_all = f" Goodness of fit of the power law: p = {power.p_value:.2g}." if power.p_value >= 0 else ""
    return f"{text}. Best in resamples of documents: {told}; {sure}.{fits_at_all}"


def difference_sentence(d: PairedDifference) -> str:
    """Where two curves differ by more than their paired error, and how much pairing helps."""
    sure = (d.low > 0) | (d.high < 0)
    last = with_error(d.difference[-1], d.standard_error[-1])
    unit = "tokens" if d.unit == "tokens" else "bytes"
    text = f"{d.first} minus {d.second}, {d.curve}, at L = {d.lengths[-1]:,.0f} {unit}: "
    text += f"{last} nats on the same documents"
    if math.isfinite(d.unpaired_error[-1]) and d.standard_error[-1] > 0:
        text += f" (two separate errors would say ± {d.unpaired_error[-1]:.2g})"
    if not sure.any():
        text += "; no length at which the 95 % interval excludes zero."
    else:
        where = ", ".join(f"{n:,.0f}" for n in d.lengths[sure])
        text += f"; the 95 % interval excludes zero at L = {where}."
    if math.isfinite(d.beta.value):
        text += f" Exponents differ by {interval_in_words(d.beta)}."
    return text


def _documents(count: int | None) -> str:
    return f"{count:,} documents in " if count else ""


def _against_exact(x: Any, values: Any, errors: Any, exact: Any, name: str) -> str:
    with np.errstate(divide="ignore", invalid="ignore"):
        away = (values - exact) / errors
    away = np.where(np.isfinite(away), away, 0.0)
    far = int(np.abs(away).argmax())
    return (
        f"The exact value is known: the estimates are off by {np.sqrt((away**2).mean()):.1f} standard errors (root "
        f"mean square), at most {abs(away[far]):.1f} at {name}{x[far]:,.0f}."
    )


def _to_the_end(c: SavedTwoPointCurve, below: Any) -> bool:
    return bool(len(below) == (c.distances >= below[0]).sum())


def _two_point_fit(fit: SavedTwoPointFit) -> str:
    with_offset = fit.form == "power_law_with_offset"
    form = "A·d^(−α) + c before the null is subtracted" if with_offset else "A·d^(−α) above the floor"
    if fit.reason or not math.isfinite(fit.alpha.value):
        return f"{form} was not fitted{': ' + fit.reason if fit.reason else ''}."
    offset = f", c = {interval_in_words(fit.offset, 4)}" if with_offset else ""
    return (
        f"Fitted {form}: α = {interval_in_words(fit.alpha)}, A = {interval_in_words(fit.amplitude)}{offset}."
    )


def _positions(c: SavedPositionCurve, at: int) -> str:
    first, last = c.first[at], c.last[at]
    return f" {first:,.0f}" if first == last else f"s {first:,.0f} to {last:,.0f}"
