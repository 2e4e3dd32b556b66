"""The capacity of a history state, how much of it a measured curve uses, and where it is full.

Chen et al. 2025 (arXiv 2503.04725), Theorem 5.2: the information between the past and the future that passes through
a state is bounded by the size of the state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.condition.law import MutualInformationCurve, ScalingLaw, finite_rows, require_law
from l2m_eval.condition.measured import Calibration
from l2m_eval.errors import L2MError
from l2m_eval.history_state.state import HistoryState
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import NORMAL_95, Interval

# A crossing beyond this many tokens is reported as none. Far beyond any text: a fixed state of many bits against a
# law of small exponent is crossed late, and that is still not never.
FARTHEST = 1e36
_PER_DECADE = 40


def state_capacity(
    state: HistoryState,
    lengths: ArrayLike,
    *,
    vocabulary: int | None = None,
    nats_per_element: float | None = None,
) -> Array:
    """The most mutual information that the state after so many tokens can pass on, in nats (Theorem 5.2).

    C·dim z + log M. An element stored in b bits holds at most b·ln 2 nats, which needs no fitted constant; a
    calibrated C may be given instead.

    Args:
        state: History state.
        lengths: Tokens in the state: the left block's length, not the total.
        vocabulary: M; without it the term log M, the last token itself, is left out.
        nats_per_element: C, in nats per element.

    Raises:
        L2MError: a constant or a vocabulary that is not positive.
    """
    if vocabulary is not None and not vocabulary >= 1:
        raise L2MError(f"vocabulary: {vocabulary!r} is not a number of tokens; give a whole number from 1")
    if nats_per_element is not None and not (nats_per_element > 0 and math.isfinite(nats_per_element)):
        raise L2MError(
            f"nats_per_element: {nats_per_element!r} is not a capacity; give a positive finite number"
        )
    last_token = math.log(vocabulary) if vocabulary is not None else 0.0
    if nats_per_element is None:
        return state.bits_at(lengths) * math.log(2) + last_token
    return state.elements_at(lengths) * nats_per_element + last_token


@dataclass(frozen=True)
class Horizon:
    """Where the law of the data reaches the most that a state can pass on.

    Attributes:
        length: Total length in tokens; inf where it never does (or beyond 10^36 tokens).
        interval: 95 % interval from the resamples, either end may be inf.
        until: Where a growing state overtakes the law again, in tokens; inf where it does not.
        never: Fraction of resamples whose curve never reaches it.
        assumption: What the capacity rests on.
    """

    length: float
    interval: Interval
    until: float
    never: float
    assumption: str


def horizon(
    law: ScalingLaw,
    state: HistoryState,
    *,
    vocabulary: int | None = None,
    nats_per_element: float | None = None,
    calibration: Calibration | None = None,
) -> Horizon:
    """The total length at which the law of the data reaches the capacity of the state.

    The state is that after L / ratio tokens. The first crossing is sought on a logarithmic grid that contains every
    length where the state changes its growth, for the law and for each of its resamples, then refined.

    With a `calibration` the capacity is what elements were measured to carry, the last token's own information
    included, and its error counts as that of the law does. It was measured at a long text, where an element carries
    least; the crossing is sought from the first length on at which the state holds what the law asks for, and is at
    one token where there is no such length.

    Raises:
        L2MError: as `state_capacity`, or a law that makes no sense.
    """
    require_law(law)
    relative = 0.0  # standard error of the constant, as a share of it
    if calibration is not None:
        nats_per_element, vocabulary = calibration.nats_per_element.value, None
        error = calibration.nats_per_element.standard_error / nats_per_element
        relative = error if math.isfinite(error) else 0.0

    def capacity(lengths: Array) -> Array:
        return state_capacity(
            state,
            np.maximum(lengths / law.ratio, 1.0),
            vocabulary=vocabulary,
            nats_per_element=nats_per_element,
        )

    corners = state.probe_lengths * law.ratio
    corners = corners[(corners >= 1) & (corners <= FARTHEST)]
    grid = np.unique(np.concatenate([np.geomspace(1.0, FARTHEST, 36 * _PER_DECADE + 1), corners]))

    def crossings(amplitudes: Array, exponents: Array) -> Array:
        return _first_crossings(amplitudes, exponents, capacity, grid, once_held=calibration is not None)

    length = float(crossings(np.array([law.amplitude]), np.array([law.exponent]))[0])
    later = grid[grid > length]
    with np.errstate(over="ignore"):
        overtaken = later[law.amplitude * later**law.exponent < capacity(later)]
    until = float(overtaken[0]) if len(overtaken) else math.inf
    if law.replicates is not None:
        rows = finite_rows(law.replicates)
        # A constant that is larger by a factor is a law that is smaller by it.
        factors = np.exp(relative * np.random.default_rng(0).normal(size=len(rows)))
        found = crossings(rows[:, 0] / factors, rows[:, 1])
        low, high = law.resampled(np.log(found), math.log(length))
        interval = (math.exp(low), math.exp(high))
        never = float(np.isinf(found).mean()) if len(found) else math.nan
    elif law.exponent_interval is not None or law.amplitude_interval is not None or relative:
        # Amplitude and exponent err in opposite directions; without resamples the corners are the safe statement.
        a, b = law.amplitude_interval or (law.amplitude, law.amplitude), law.bounds
        factor = math.exp(NORMAL_95 * relative)
        late, early = crossings(np.array([a[0] / factor, a[1] * factor]), np.array(b))
        interval, never = (float(early), float(late)), float(math.isinf(length))
    else:
        interval, never = (length, length), float(math.isinf(length))
    if calibration is not None:
        assumption = calibration.assumption
    elif nats_per_element is None:
        assumption = "If every stored bit carries information about the past"
    else:
        assumption = f"With {nats_per_element:g} nats per element"
    return Horizon(length, interval, until, never, assumption)


def utilisation(
    curve: MutualInformationCurve,
    state: HistoryState,
    ratio: float = 2.0,
    *,
    vocabulary: int | None = None,
    nats_per_element: float | None = None,
) -> tuple[Array, Array, Array]:
    """Capacity in nats, I(L) / capacity, and its standard error, at each measured length; shapes (n,).

    Raises:
        L2MError: lengths that are not tokens, or as `state_capacity`.
    """
    if curve.unit != "tokens":
        raise L2MError(f"unit: {curve.unit!r}; a state is compared with lengths in tokens")
    split = np.maximum(np.asarray(curve.lengths, float) / ratio, 1.0)
    capacity = state_capacity(state, split, vocabulary=vocabulary, nats_per_element=nats_per_element)
    return capacity, curve.values / capacity, curve.errors / capacity


def _first_crossings(
    amplitudes: Array, exponents: Array, capacity: Callable[[Array], Array], grid: Array, *, once_held: bool
) -> Array:
    """First length at which A·L^β reaches the capacity, per curve (R,); inf where it does not on the grid.

    With `once_held` the first one beyond the shortest length where it is below; the grid's first where it never is.
    """
    log_grid = np.log(grid)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_a = np.log(np.maximum(amplitudes, 0.0))  # -inf for a curve that is nowhere positive
        log_capacity = np.log(capacity(grid))
        above = log_a[:, None] + exponents[:, None] * log_grid >= log_capacity  # (R, G)
    if once_held:
        held = (~above).argmax(
            axis=1
        )  # 0 for a curve that is always above, which then counts from the first on
        above &= np.arange(len(grid)) >= held[:, None]
    first = above.argmax(axis=1)
    crosses = above.any(axis=1)
    low = log_grid[np.maximum(first - 1, 0)]
    high = log_grid[first]
    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            reached = log_a + exponents * middle >= np.log(capacity(np.exp(middle)))
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return np.where(crosses, np.exp(high), np.inf)
