"""What a history state is, as numbers: sizes per kind of layer, and how they grow. Arrays only, no torch.

The history state z of a language model is the smallest set of intermediate variables that stand for the past:
q(y|x) = q(y|z) (Chen et al. 2025, arXiv 2503.04725, section 5). Its size decides which mutual-information
scaling a model can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Array, Integers

MEASURED = "measured on the model's own cache"
CONFIGURATION = "configuration"
DECLARED = "declared"

ATTENTION = "attention"
SLIDING_WINDOW = "sliding window"
COMPRESSED_LATENT = "compressed latent"
INDEX = "attention index"
RECURRENT = "recurrent"
CONVOLUTION = "convolution"
OTHER = "other"
# The order in which kinds are reported.
KINDS = (ATTENTION, SLIDING_WINDOW, COMPRESSED_LATENT, INDEX, RECURRENT, CONVOLUTION, OTHER)


@dataclass(frozen=True)
class LayerState:
    """The state of one kind that one layer keeps.

    Attributes:
        layer: Index of the layer; None where one state belongs to all layers together.
        kind: One of `KINDS`, or ``"declared"``.
        elements_per_token: Elements that a token adds: at large lengths if the state grows without end, at the
            first tokens if it saturates, zero if it is constant.
        largest: Elements when it is full; None where it grows without end.
        saturates_at: Tokens after which it no longer grows (1 for a constant); None where it grows without end.
        dtype: How the elements are stored.
    """

    layer: int | None
    kind: str
    elements_per_token: float
    largest: int | None
    saturates_at: int | None
    dtype: str

    def __str__(self) -> str:
        where = "all layers" if self.layer is None else f"layer {self.layer}"
        if self.largest is None:
            size = f"{self.elements_per_token:,.10g} elements per token"
        elif self.elements_per_token == 0 or self.saturates_at == 1:
            size = f"{self.largest:,} elements"
        else:
            size = f"{self.elements_per_token:,.10g} elements per token up to {self.saturates_at:,} tokens"
        return f"{where}: {self.kind}, {size} ({self.dtype})"


@dataclass(frozen=True, eq=False)
class HistoryState:
    """dim z(L) of one model, per kind of layer, for one sequence (whatever the batch).

    Attributes:
        model: Name of the model, or what was declared.
        source: `MEASURED`, `CONFIGURATION` or `DECLARED`.
        lengths: Numbers of tokens asked for, shape (n,), increasing.
        kinds: Names of the kinds that the model has, K of them.
        elements: Shape (K, n).
        bits: Bits in which those elements are stored, scales of quantised caches included, shape (K, n).
        probe_lengths: Every length at which the size is known, shape (p,), increasing: those asked for, the
            places where a layer saturates, and lengths beyond all windows. Between them it is interpolated.
        probe_elements, probe_bits: The same as `elements` and `bits`, there; shape (K, p).
        layers: What each layer keeps.
        notes: Sentences on how the numbers came about, for the reader of a report.
        vocabulary: Number of tokens M of the model; None where unknown.
        context: Most tokens that the model accepts; None where it does not say.
    """

    model: str
    source: str
    lengths: Integers
    kinds: tuple[str, ...]
    elements: Integers
    bits: Integers
    probe_lengths: Integers
    probe_elements: Integers
    probe_bits: Integers
    layers: tuple[LayerState, ...]
    notes: tuple[str, ...] = ()
    vocabulary: int | None = None
    context: int | None = None

    @property
    def total(self) -> Integers:
        """dim z at `lengths`, all kinds together, in elements; shape (n,)."""
        return self.elements.sum(axis=0)

    @property
    def total_bits(self) -> Integers:
        """dim z at `lengths`, all kinds together, in bits; shape (n,)."""
        return self.bits.sum(axis=0)

    @property
    def bytes(self) -> Array:
        """Bytes per kind at `lengths`, shape (K, n)."""
        return self.bits / 8.0

    def elements_at(self, lengths: ArrayLike) -> Array:
        """Total elements at any lengths, measured or not, shape of `lengths`.

        Piecewise linear through the probes, which contain every place where a layer saturates, and continued
        beyond the last one with the growth found there.
        """
        return _through(self.probe_lengths, self.probe_elements.sum(axis=0), lengths)

    def bits_at(self, lengths: ArrayLike) -> Array:
        """Total bits at any lengths; as `elements_at`."""
        return _through(self.probe_lengths, self.probe_bits.sum(axis=0), lengths)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, for reports, and for `from_json`."""
        return {
            "model": self.model,
            "source": self.source,
            "vocabulary": self.vocabulary,
            "context": self.context,
            "lengths": self.lengths.tolist(),
            "elements": {k: row.tolist() for k, row in zip(self.kinds, self.elements, strict=True)},
            "bits": {k: row.tolist() for k, row in zip(self.kinds, self.bits, strict=True)},
            "total_elements": self.total.tolist(),
            "total_bytes": (self.total_bits / 8).tolist(),
            "layers": [asdict(layer) for layer in self.layers],
            "notes": list(self.notes),
            "probes": {
                "lengths": self.probe_lengths.tolist(),
                "elements": self.probe_elements.tolist(),
                "bits": self.probe_bits.tolist(),
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HistoryState:
        """The state that `to_json` wrote.

        Raises:
            L2MError: something is missing or of another shape.
        """
        try:
            kinds = tuple(data["elements"])
            probes = {key: np.array(value, np.int64) for key, value in data["probes"].items()}
            return cls(
                model=str(data["model"]),
                source=str(data["source"]),
                lengths=np.array(data["lengths"], np.int64),
                kinds=kinds,
                elements=np.array([data["elements"][kind] for kind in kinds], np.int64),
                bits=np.array([data["bits"][kind] for kind in kinds], np.int64),
                probe_lengths=probes["lengths"],
                probe_elements=probes["elements"],
                probe_bits=probes["bits"],
                layers=tuple(LayerState(**layer) for layer in data["layers"]),
                notes=tuple(data["notes"]),
                vocabulary=data.get("vocabulary"),
                context=data.get("context"),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise L2MError(f"state: no complete history state ({type(error).__name__}: {error})") from error


@dataclass(frozen=True)
class StateGrowth:
    """How dim z grows with the length, within the context that the model accepts.

    Attributes:
        exponent: Slope of log dim z against log L over the lengths asked for; NaN with fewer than two.
        asymptotic_exponent: γ in dim z ~ L^γ at the largest lengths that the model accepts (the largest known,
            where it names no context): 1 while a token still adds elements there, 0 where none does. NaN where too
            few lengths are known to tell.
        saturation_length: Tokens after which every part that stops growing within the context has stopped: the
            largest window, or 1 where the whole state is constant. None where no part stops.
        constant_part: Elements that do not depend on the length, at the largest lengths.
        slope_per_token: Elements that a token adds there. Both are NaN unless γ is 0 or 1.
        probed_up_to: The largest length known, in tokens.
        context: Most tokens that the model accepts; None where it does not say.
        beyond_context: γ beyond the context, where a window that the context never fills would stop growing; None
            where nothing changes there.
        sentence: The above in words.
    """

    exponent: float
    asymptotic_exponent: float
    saturation_length: int | None
    constant_part: float
    slope_per_token: float
    probed_up_to: int
    context: int | None
    beyond_context: float | None
    sentence: str


def state_growth(state: HistoryState) -> StateGrowth:
    """Growth of the history state, from its increments between lengths of our own choice.

    The increments dim z(b) - dim z(a) and dim z(c) - dim z(b) at three lengths a < b < c an octave apart are free of
    the constant part, so a hybrid of a large fixed state and a little attention is still seen to grow like L. A
    window that is as large as the context never fills within it, and counts as growing.
    """
    x = state.probe_lengths.astype(float)
    z = state.probe_elements.sum(axis=0).astype(float)
    exponent = float("nan")
    if len(state.lengths) > 1 and (state.total > 0).all():
        exponent = float(np.polyfit(np.log(state.lengths), np.log(state.total), 1)[0])
    gamma, constant, slope = _asymptote(x, z)
    beyond = None
    unfilled = [layer for layer in state.layers if _never_fills(layer, state.context)]
    if unfilled and state.context is not None:
        beyond = gamma
        growing = [layer for layer in state.layers if layer.saturates_at is None]
        gamma, slope = 1.0, sum(layer.elements_per_token for layer in (*growing, *unfilled))
        constant = float(_through(state.probe_lengths, state.probe_elements.sum(axis=0), state.context))
        constant -= slope * min(state.context, *(layer.saturates_at or state.context for layer in unfilled))
    ends = {layer.saturates_at for layer in state.layers if layer not in unfilled} - {None}
    windows = [end for end in ends if end is not None and (end > 1 or (ends == {1} and gamma == 0))]
    saturation = max(windows) if windows else None
    return StateGrowth(
        exponent=exponent,
        asymptotic_exponent=gamma,
        saturation_length=saturation,
        constant_part=constant,
        slope_per_token=slope,
        probed_up_to=int(x[-1]),
        context=state.context,
        beyond_context=beyond,
        sentence=_growth_sentence(gamma, constant, slope, saturation, int(x[-1]))
        + _beyond_sentence(state.context, beyond),
    )


def _never_fills(layer: LayerState, context: int | None) -> bool:
    # A window of W tokens keeps W - 1 or W entries: one of the context's size is full at its last token.
    return (
        context is not None and layer.saturates_at is not None and layer.saturates_at >= max(context - 1, 2)
    )


def _beyond_sentence(context: int | None, beyond: float | None) -> str:
    if beyond is None:
        return ""
    after = "it would stop growing" if beyond == 0 else "some layers would stop growing"
    return f", within its context of {context:,} tokens; beyond that {after}"


def growth_places(lengths: ArrayLike) -> tuple[int, ...]:
    """Where to read the growth in the end: indices of three lengths an octave apart, the largest powers of two.

    Lengths that users ask for lie anywhere, and a cache that grows by an entry every few tokens seems to bend
    between them. Without three such lengths the last three (or fewer) are taken.
    """
    known = [int(n) for n in np.asarray(lengths)]
    place = {n: i for i, n in enumerate(known)}
    for c in reversed(known):
        if c & (c - 1) == 0 and c >= 4 and c // 2 in place and c // 4 in place:
            return place[c // 4], place[c // 2], place[c]
    return tuple(range(len(known)))[-3:]


def _asymptote(x: Array, z: Array) -> tuple[float, float, float]:
    """Exponent, constant part and slope at the last three lengths."""
    nan = float("nan")
    if len(x) < 3:
        return nan, nan, nan
    places = list(growth_places(x))
    (a, b, c), (first, second) = x[places], np.diff(z[places])
    slope = second / (c - b)
    # Compressed caches grow by one entry every few tokens; a step of that size is no curvature.
    if np.isclose(slope, first / (b - a), rtol=5e-3, atol=1e-12 * max(z[places[-1]], 1.0) / c):
        return (1.0 if slope > 0 else 0.0), float(z[places[-1]] - slope * c), float(slope)
    if first <= 0 or second <= 0:
        return nan, nan, nan
    if abs(second - first) <= 1 and np.isclose(c * a, b * b):
        return 0.0, nan, nan  # the same increment per octave, to the whole element: a logarithm

    def excess(gamma: float) -> float:
        # (c^γ - b^γ) / (b^γ - a^γ), with b as the unit so that no power overflows
        up = np.expm1(gamma * np.log(c / b))
        down = -np.expm1(gamma * np.log(a / b))
        return float(np.log(up / down if gamma else np.log(c / b) / np.log(b / a)) - np.log(second / first))

    if excess(-4.0) > 0 or excess(16.0) < 0:
        return nan, nan, nan
    from scipy import optimize  # a second of imports that few states need

    gamma = float(optimize.brentq(excess, -4.0, 16.0, xtol=1e-9))
    # Increments that shrink like L^γ with γ ≤ 0 add up to a bounded (or logarithmic) state: exponent zero.
    return max(0.0, round(gamma, 6)), nan, nan


def _growth_sentence(gamma: float, constant: float, slope: float, saturation: int | None, known: int) -> str:
    if np.isnan(gamma):
        return "the growth at large lengths is not known: sizes at too few lengths"
    if gamma == 0 and np.isnan(slope):
        return f"grows more slowly than any power of the length (known up to {known:,} tokens)"
    if gamma == 0:
        if saturation == 1:
            return f"is the same at every length: {constant:,.10g} elements"
        since = f" from {saturation:,} tokens on" if saturation else ""
        return f"does not grow{since}: {constant:,.10g} elements"
    if gamma == 1:
        fixed = f"{constant:,.10g} + " if abs(constant) >= 0.5 else ""
        since = f" from {saturation:,} tokens on" if saturation and saturation > 1 else ""
        return f"grows linearly{since}: {fixed}{slope:,.10g} · L elements"
    return f"grows like L^{gamma:.3g} (known up to {known:,} tokens)"


def _through(knots: Integers, values: Integers, lengths: ArrayLike) -> Array:
    x, z, at = knots.astype(float), values.astype(float), np.asarray(lengths, float)
    inside = np.interp(at, x, z)
    if len(x) < 2:
        return inside
    gamma, constant, slope = _asymptote(x, z)
    power = z[-1] * (at / x[-1]) ** (0.0 if np.isnan(gamma) else gamma)
    beyond = power if np.isnan(slope) else constant + slope * at
    return np.where(at > x[-1], beyond, inside)


def saturation(lengths: Integers, elements: Integers) -> int | None:
    """Tokens after which one layer's state stops growing, from its sizes at known lengths.

    None where it still grows between the last three lengths. A state that fills token by token and is then full
    has saturated after largest / (elements after the first token) tokens.

    Args:
        lengths: Shape (p,), increasing, the first of them 1 token.
        elements: Shape (p,).
    """
    if len(elements) > 1 and elements[-1] != elements[max(-3, -len(elements))]:
        return None
    largest, per_token = int(elements[-1]), int(elements[0])
    if per_token == largest:
        return int(lengths[0])
    first_full = int(lengths[np.argmax(elements == largest)])
    if per_token > 0 and lengths[0] == 1 and largest % per_token == 0 and largest // per_token <= first_full:
        return largest // per_token
    return first_full
