"""Curves as results files hold them: typed, with what each array means, and the reading of their JSON.

Written by the tasks into ``configs[TASK]["l2m"]``; `l2m_eval.results` finds the files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_eval.errors import L2MError

Array = NDArray[np.float64]
Interval = tuple[float, float]

_UNKNOWN = (math.nan, math.nan)


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and 95 % interval; NaN where unknown."""

    value: float
    standard_error: float = math.nan
    interval: Interval = _UNKNOWN


@dataclass(frozen=True, eq=False)
class SavedBipartiteCurve:
    """I(L) of one estimator at one ratio, nats, and its fit I = amplitude · L^beta over the total length L.

    Attributes:
        name: As in the metrics: ``direct``, ``vclub``, ``direct_r3`` ...
        estimator, ratio: Which estimator; total length over the left block's.
        lengths: Total lengths in tokens, shape (n,).
        mi, standard_error: Nats, shape (n,).
        bytes: Mean bytes of text that the lengths cover, shape (n,); None where the run did not keep them.
        clusters: Groups of documents that the errors rest on.
        beta, amplitude: Of the fit; NaN where none was possible.
        fit: ``loglog`` or ``wls``.
        not_positive: Lengths whose estimate is not positive.
        exact, beta_exact: Of a known process; None otherwise.
    """

    name: str
    estimator: str
    ratio: int
    lengths: Array
    mi: Array
    standard_error: Array
    bytes: Array | None
    clusters: int
    beta: Estimate
    amplitude: Estimate
    fit: str
    not_positive: tuple[int, ...]
    exact: Array | None
    beta_exact: float | None


@dataclass(frozen=True)
class SavedTwoPointFit:
    """One form fitted to a two-point curve: amplitude · d^(-alpha), or that plus an offset.

    Attributes:
        form: ``power_law`` or ``power_law_with_offset``.
        alpha, amplitude, offset: NaN where not fitted.
        distances: Those used.
        reason: Why there is no fit; empty where there is one.
    """

    form: str
    alpha: Estimate
    amplitude: Estimate
    offset: Estimate
    distances: tuple[int, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class SavedTwoPointCurve:
    """I(d) between tokens at distance d, nats; every array has shape (n,), `interval` (n, 2).

    Attributes:
        name: ``two_point`` of the text, ``two_point_generated`` of what the model writes.
        distances: In tokens.
        mi, standard_error, interval: The corrected estimate.
        uncorrected: Before the null was subtracted.
        null, null_spread: Of shuffled tokens.
        floor: Below it a value cannot be told from zero.
        pairs: Token pairs counted.
        documents, groups: What the errors rest on.
        exact: Of a known process; None otherwise.
        fits: The forms tried.
    """

    name: str
    distances: Array
    mi: Array
    standard_error: Array
    interval: Array
    uncorrected: Array
    null: Array
    null_spread: Array
    floor: Array
    pairs: Array
    documents: int
    groups: int
    exact: Array | None
    fits: tuple[SavedTwoPointFit, ...]


@dataclass(frozen=True)
class SavedPositionFit:
    """nll = entropy_rate + amplitude · t^(exponent - 1); `exponent` is the β that the loss implies.

    `bins` names the bins used; `reason` says why there is no fit, empty where there is one.
    """

    entropy_rate: Estimate
    amplitude: Estimate
    exponent: Estimate
    bins: tuple[str, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class SavedPositionCurve:
    """Loss by position, in bins of positions; every array has shape (n,).

    Attributes:
        names, first, last: Of the bins, positions from 1, both ends included.
        nll, standard_error: Nats a token.
        tokens: Tokens in each bin, over all documents.
        bits_per_byte, bits_per_byte_error, bytes_per_token: Of the bin.
        byte_position: Mean bytes of text up to the middle of the bin.
        documents, clusters: What the errors rest on.
        exact: Of a known process; None otherwise.
        overall: Mean loss over all positions, nats a token; `overall_bits_per_byte` the same in bits a byte.
        context_gain: What the last bin gains over an early one, nats a token; None where not computed.
        fit: None where none was tried.
    """

    names: tuple[str, ...]
    first: Array
    last: Array
    nll: Array
    standard_error: Array
    tokens: Array
    bits_per_byte: Array
    bits_per_byte_error: Array
    bytes_per_token: Array
    byte_position: Array
    documents: int
    clusters: int
    exact: Array | None
    overall: Estimate | None
    overall_bits_per_byte: Estimate | None
    context_gain: Estimate | None
    fit: SavedPositionFit | None


def as_float(value: Any) -> float:
    """A number of a results file: null, "N/A" and the like are NaN."""
    if isinstance(value, bool) or value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


class Block:
    """A part of a results block, read with errors that say what is missing where."""

    def __init__(self, data: Any, file: Path, where: str):
        self.file, self.where = file, where
        if not isinstance(data, Mapping):
            raise self.error("is no mapping")
        self.data = data

    def error(self, what: str) -> L2MError:
        return L2MError(f"results: {self.where} in {str(self.file)!r} {what}; measure again")

    def part(self, data: Any, where: str) -> Block:
        return Block(data, self.file, f"{self.where}, {where}")

    def required(self, key: str) -> Any:
        if self.data.get(key) is None:
            raise self.error(f"has no {key}")
        return self.data[key]

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self.data.get(key)
        return value if isinstance(value, Mapping) else {}

    def parts(self, key: str, what: str) -> list[Block]:
        value = self.required(key)
        if not isinstance(value, list) or not value:
            raise self.error(f"has no {what}")
        return [self.part(item, f"{what} {number}") for number, item in enumerate(value, 1)]

    def array(self, key: str, count: int | None = None) -> Array:
        """Numbers, NaN for null; `count` of them."""
        values = self.required(key)
        if not isinstance(values, list) or (count is not None and len(values) != count):
            raise self.error(f"has {key} of another length than its curve")
        return np.array([as_float(value) for value in values], float)

    def optional_array(self, key: str, count: int) -> Array:
        return self.array(key, count) if self.data.get(key) is not None else np.full(count, math.nan)

    def exact(self, count: int) -> Array | None:
        return self.array("exact", count) if self.data.get("exact") is not None else None

    def number(self, key: str) -> float:
        return as_float(self.data.get(key))

    def count(self, key: str) -> int:
        value = self.number(key)
        return int(value) if math.isfinite(value) else 0

    def text(self, key: str) -> str:
        return str(self.data.get(key) or "")

    def interval(self, key: str) -> Interval:
        pair = self.data.get(key)
        if not isinstance(pair, list) or len(pair) != 2:
            return _UNKNOWN
        return as_float(pair[0]), as_float(pair[1])

    def flat_estimate(self, name: str) -> Estimate:
        """Of the keys NAME, NAME_error, NAME_interval."""
        return Estimate(self.number(name), self.number(f"{name}_error"), self.interval(f"{name}_interval"))

    def estimate(self, key: str) -> Estimate | None:
        """Of a mapping with value, standard_error, interval; None where there is none."""
        if not isinstance(self.data.get(key), Mapping):
            return None
        part = self.part(self.data[key], key)
        return Estimate(part.number("value"), part.number("standard_error"), part.interval("interval"))


def bipartite_curves_of(read: Block) -> tuple[SavedBipartiteCurve, ...]:
    """The curves of a bipartite or condition block."""
    curves = []
    for part in read.parts("curves", "curve"):
        lengths = part.array("lengths")
        if len(lengths) == 0:
            raise part.error("has no lengths")
        beta_exact = part.number("beta_exact")
        curves.append(
            SavedBipartiteCurve(
                name=str(part.required("name")),
                estimator=str(part.required("estimator")),
                ratio=int(part.required("ratio")),
                lengths=lengths,
                mi=part.array("mi", len(lengths)),
                standard_error=part.array("standard_error", len(lengths)),
                bytes=part.array("bytes", len(lengths)) if part.data.get("bytes") is not None else None,
                clusters=part.count("clusters"),
                beta=part.flat_estimate("beta"),
                amplitude=part.flat_estimate("amplitude"),
                fit=part.text("fit"),
                not_positive=tuple(int(n) for n in part.data.get("not_positive") or ()),
                exact=part.exact(len(lengths)),
                beta_exact=None if math.isnan(beta_exact) else beta_exact,
            )
        )
    return tuple(curves)


def two_point_curves_of(read: Block) -> tuple[SavedTwoPointCurve, ...]:
    """The curves of a two-point block."""
    curves = []
    for part in read.parts("curves", "curve"):
        distances = part.array("distances")
        n = len(distances)
        intervals = part.data.get("interval") or [[None, None]] * n
        curves.append(
            SavedTwoPointCurve(
                name=str(part.required("name")),
                distances=distances,
                mi=part.array("mi", n),
                standard_error=part.array("standard_error", n),
                interval=np.array([[as_float(low), as_float(high)] for low, high in intervals]).reshape(n, 2),
                uncorrected=part.optional_array("uncorrected", n),
                null=part.optional_array("null", n),
                null_spread=part.optional_array("null_spread", n),
                floor=part.optional_array("floor", n),
                pairs=part.optional_array("pairs", n),
                documents=part.count("documents"),
                groups=part.count("groups"),
                exact=part.exact(n),
                fits=tuple(_two_point_fit(part.part(fit, "fit")) for fit in part.data.get("fits") or ()),
            )
        )
    return tuple(curves)


def _two_point_fit(part: Block) -> SavedTwoPointFit:
    return SavedTwoPointFit(
        form=part.text("form"),
        alpha=part.flat_estimate("alpha"),
        amplitude=part.flat_estimate("amplitude"),
        offset=part.flat_estimate("offset"),
        distances=tuple(int(d) for d in part.data.get("distances") or ()),
        reason=part.text("reason"),
    )


def position_curve_of(read: Block) -> SavedPositionCurve:
    """The curve of a per-position block."""
    part = read.part(read.required("curve"), "curve")
    bins = part.parts("bins", "bin")
    n = len(bins)
    return SavedPositionCurve(
        names=tuple(str(b.required("name")) for b in bins),
        first=np.array([float(b.required("first")) for b in bins]),
        last=np.array([float(b.required("last")) for b in bins]),
        nll=part.array("nll", n),
        standard_error=part.array("standard_error", n),
        tokens=part.optional_array("tokens", n),
        bits_per_byte=part.optional_array("bits_per_byte", n),
        bits_per_byte_error=part.optional_array("bits_per_byte_error", n),
        bytes_per_token=part.optional_array("bytes_per_token", n),
        byte_position=part.optional_array("byte_position", n),
        documents=part.count("documents"),
        clusters=part.count("clusters"),
        exact=part.exact(n),
        overall=part.estimate("overall"),
        overall_bits_per_byte=part.estimate("overall_bits_per_byte"),
        context_gain=part.estimate("context_gain"),
        fit=_position_fit(part.part(part.data["fit"], "fit")) if part.data.get("fit") is not None else None,
    )


def _position_fit(part: Block) -> SavedPositionFit:
    return SavedPositionFit(
        entropy_rate=part.flat_estimate("entropy_rate"),
        amplitude=part.flat_estimate("amplitude"),
        exponent=part.flat_estimate("exponent"),
        bins=tuple(map(str, part.data.get("bins") or ())),
        reason=part.text("reason"),
    )
