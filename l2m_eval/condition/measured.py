"""The L²M condition, measured: the state that a model needs beside the one it has, and what an element carries.

`l2m_state` makes a model's state smaller and measures the information that is left. Three things follow for the
check: how the state that keeps a share of the information grows with the length (δ, beside β of the data and γ of
the whole state); what an element carries where information begins to be lost, which calibrates the capacity of a
state; and whether any measured point lies above the bound of Theorem 5.2, which none can but by its error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import NORMAL_95, Estimate, finite_or_none


@dataclass(frozen=True, eq=False)
class NeededState:
    """The smallest state of one family of ways that keeps the share, for each length.

    Attributes:
        family: Of the ways: ``bits``, ``sinks4+window``.
        drops: Whether smaller members keep fewer elements, rather than fewer bits of each.
        amounts: In the family's own unit, tokens or bits of a number, (lengths,).
        sizes: In bits of the state of one sequence.
        densities: Nats that a bit of the needed state carries.
        exponent: δ: the needed bits grow like L^δ.
    """

    family: str
    drops: bool
    amounts: tuple[Estimate, ...]
    sizes: tuple[Estimate, ...]
    densities: tuple[Estimate, ...]
    exponent: Estimate


@dataclass(frozen=True)
class KeptPoint:
    """What one smaller state keeps at one length: nats with their error, in so many bits."""

    state: str
    length: int
    kept: float
    error: float
    bits: float


@dataclass(frozen=True, eq=False)
class MeasuredState:
    """What a measurement of smaller states says of a model.

    Attributes:
        of: What was measured, with how many documents.
        keep: Share of the information that `families` are about.
        lengths: Total lengths L; x and y are half of it.
        bits: Of the whole state of one sequence when y begins, (lengths,).
        families: Those whose sizes are known.
        points: Every smaller state at every length, and the whole one.
    """

    of: str
    keep: float
    lengths: tuple[int, ...]
    bits: Array
    families: tuple[NeededState, ...]
    points: tuple[KeptPoint, ...]


@dataclass(frozen=True)
class Calibration:
    """What an element of a state was measured to carry where information begins to be lost.

    Attributes:
        nats_per_element: With its error.
        length: L at which it was measured: the longest.
        state: The smallest state that keeps the share, by name.
        keep: That share.
    """

    nats_per_element: Estimate
    length: int
    state: str
    keep: float

    @property
    def assumption(self) -> str:
        """What a horizon rests on that is computed with this."""
        return (
            "If an element carries what it was measured to carry where information begins to be lost, "
            f"{self.nats_per_element.value:.2g} nats ({self.state} keeps {100 * self.keep:g} % at "
            f"L = {self.length:,})"
        )


def calibration(measured: MeasuredState, elements: Array) -> Calibration | None:
    """Nats per element of the smallest state, by dropping elements, that keeps the share at the longest length.

    At the longest one, since what an element carries falls with the length where the needed state grows faster than
    the information. The last token's own log M is counted as carried by the state.

    Args:
        measured: The measurement.
        elements: Of the whole state when y begins, (lengths,).

    Returns:
        None where no family that drops elements gives a needed state.
    """
    for at in reversed(range(len(measured.lengths))):
        known = [f for f in measured.families if f.drops and math.isfinite(f.densities[at].value)]
        if not known:
            continue
        best = max(known, key=lambda family: family.densities[at].value)
        stored, density = float(measured.bits[at] / elements[at]), best.densities[at]
        low, high = density.interval
        nats = Estimate(
            density.value * stored, density.standard_error * stored, (low * stored, high * stored)
        )
        state = f"{best.family}{best.amounts[at].value:,.0f}"
        return Calibration(nats, measured.lengths[at], state, measured.keep)
    return None


def measured_numbers(
    measured: MeasuredState, found: Calibration | None, vocabulary: int | None
) -> dict[str, Any]:
    """The numbers of a verdict: `needed` by family, δ, `at_longest`, `calibration` and `bound`.

    δ is that of the family that drops elements and needs fewest bits, of any family where none drops.
    """
    smallest, growing = _smallest(measured), _of_growth(measured)
    return {
        "of": measured.of,
        "keep": measured.keep,
        "lengths": list(measured.lengths),
        "bits": finite_or_none(np.asarray(measured.bits, float).tolist()),
        "needed": [
            {
                "family": family.family,
                "amounts": [one.to_json() for one in family.amounts],
                "sizes": [one.to_json() for one in family.sizes],
                "exponent": family.exponent.to_json(),
            }
            for family in measured.families
        ],
        "delta": None if growing is None else growing.exponent.value,
        "delta_error": None if growing is None else growing.exponent.standard_error,
        "delta_interval": None if growing is None else growing.exponent.interval,
        "delta_of": "" if growing is None else growing.family,
        "at_longest": smallest,
        "calibration": None
        if found is None
        else {
            "nats_per_element": found.nats_per_element.to_json(),
            "length": found.length,
            "state": found.state,
        },
        "bound": _bound(measured, vocabulary),
    }


def measured_sentence(numbers: dict[str, Any], gamma: float) -> str:
    """What a model needs beside what it has; empty where neither could be measured."""
    parts = []
    about = f"for {100 * numbers['keep']:g} % of its information"
    if numbers["delta"] is not None:
        error = numbers["delta_error"]
        spread = f" ± {error:.2f}" if math.isfinite(error) else ""
        has = f" and has L^{gamma:.3g}" if math.isfinite(gamma) else ""
        parts.append(f"the model needs L^{numbers['delta']:.2f}{spread} {about} ({numbers['delta_of']}){has}")
    there = numbers["at_longest"]
    if there is not None:
        who, share = ("it", "") if parts else ("the model", f" {about}")
        parts.append(
            f"at L = {there['length']:,} {who} has {size_in_words(there['has'])} and needs "
            f"{size_in_words(there['needs'])}{share} ({there['family']})"
        )
    above = numbers["bound"]["above"]
    sentence = f"Measured on {numbers['of']}: {'; '.join(parts)}." if parts else ""
    if above:
        named = ", ".join(f"{one['state']} at L = {one['length']:,}" for one in above[:3])
        sentence += (
            f" {len(above)} point(s) lie above the bound of Theorem 5.2 ({named}): the estimator is biased there, or "
            "the state is not all that the model keeps."
        )
    return sentence.strip()


def size_in_words(bits: float) -> str:
    """Bits as bytes, KiB, MiB or GiB."""
    value = bits / 8
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def _smallest(measured: MeasuredState) -> dict[str, Any] | None:
    """The needed state of fewest bits at the longest length at which one is known."""
    for at in reversed(range(len(measured.lengths))):
        known = [f for f in measured.families if math.isfinite(f.sizes[at].value)]
        if known:
            best = min(known, key=lambda family: family.sizes[at].value)
            return {
                "length": measured.lengths[at],
                "has": float(measured.bits[at]),
                "needs": best.sizes[at].value,
                "needs_error": best.sizes[at].standard_error,
                "needs_interval": best.sizes[at].interval,
                "family": best.family,
            }
    return None


def _of_growth(measured: MeasuredState) -> NeededState | None:
    known = [family for family in measured.families if math.isfinite(family.exponent.value)]
    dropping = [family for family in known if family.drops] or known

    def size(family: NeededState) -> float:
        longest = family.sizes[-1].value
        return longest if math.isfinite(longest) else math.inf

    return min(dropping, key=size, default=None)


def _bound(measured: MeasuredState, vocabulary: int | None) -> dict[str, Any]:
    """Every point against bits·ln 2 + log M: how many there are, the largest share of it, and those above."""
    last_token = math.log(vocabulary) if vocabulary else 0.0
    shares, above = [], []
    for point in measured.points:
        if not (math.isfinite(point.bits) and math.isfinite(point.kept)):
            continue
        most = point.bits * math.log(2) + last_token
        shares.append(point.kept / most if most > 0 else 0.0)
        error = point.error if math.isfinite(point.error) else 0.0
        if point.kept - NORMAL_95 * error > most:
            above.append({"state": point.state, "length": point.length, "kept": point.kept, "bound": most})
    return {"points": len(shares), "largest_share": max(shares, default=math.nan), "above": above}
