"""The measurement of smaller states: x is read once, and y is scored behind its whole state and behind smaller ones.

`SmallerStateRequest` and `SmallerStatePlan` go to a model and come back as records of sums; `state_curve` turns the
records of all documents into the curve. Neither knows the harness, so that curves can be recomputed from a samples
log alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from l2m_eval.corpus.chunks import Chunk
from l2m_eval.estimators.bipartite import clustered_mean, direct_terms
from l2m_eval.estimators.smaller_state import Kept, Needed, kept_information, needed_state
from l2m_eval.history_state.smaller import FULL, Context, Pressed, Way
from l2m_eval.history_state.smaller import Window as Evicted
from l2m_eval.measurements.context import lengths_that_fit
from l2m_eval.measurements.saved_part import SavedPart
from l2m_eval.scoring.windows import Window, window_behind_last
from l2m_eval.settings import StateSettings
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import Estimate, finite_or_none

if TYPE_CHECKING:
    from l2m_eval.scoring.encoder import Encoder
    from l2m_eval.scoring.scorer import Sums


_STORED_BITS = (8.0, 16.0, 32.0, 64.0)  # of a number


@dataclass(frozen=True)
class SmallerStateRequest:
    """What one document tells of what smaller states keep."""

    settings: StateSettings
    chunk: Chunk

    def __str__(self) -> str:
        return f"smaller states on {self.chunk.label}"

    def plan(self, encoder: Encoder) -> SmallerStatePlan:
        """For each length the marginal, and y behind the whole state and each smaller one.

        Raises:
            L2MError: a length that was asked for does not fit the model, or none of the default ones does.
        """
        settings = self.settings
        lengths = lengths_that_fit(encoder, settings.wanted_lengths, asked=settings.lengths_asked)
        ways = settings.ways
        tokens = encoder.tokens(self.chunk, lengths[-1])
        # Without a state that is changed every backend can measure it.
        changed = any(not isinstance(way, Context) for way in ways)
        windows = []
        for length in lengths:
            left = length // 2

            def behind_last(context: int, block: tuple[int, int] = (left, length)) -> Window:
                return window_behind_last(tokens, block, context, encoder.prefix, self.chunk.label)

            read = behind_last(left)
            whole = _behind_state(read, FULL) if changed else read
            windows += [behind_last(0), whole]
            for way in ways:
                if not isinstance(way, Context):
                    windows.append(_behind_state(read, way))
                else:  # a context of all that there is is the whole one
                    windows.append(behind_last(way.amount) if way.amount < left else whole)
        return SmallerStatePlan(windows, lengths, ways)


def _behind_state(window: Window, way: Way) -> Window:
    return replace(window, label=f"{window.label}, {way.name}", state=way.name)


@dataclass(frozen=True, eq=False)
class SmallerStatePlan:
    """The windows of one document and how their sums become its record.

    Attributes:
        windows: For each length the marginal, the whole state, and each way.
        lengths: Total lengths.
        ways: Ways to make the state smaller.
    """

    windows: list[Window]
    lengths: tuple[int, ...]
    ways: tuple[Way, ...]

    def record(self, scores: list[Sums]) -> str:
        """The document's sums as JSON, and the bits of its states where the backend gave them."""
        names = ["marginal", FULL.name, *(way.name for way in self.ways)]
        log_probs: dict[str, list[float]] = {name: [] for name in names}
        bits: dict[str, list[int]] = {}
        for number, (window, sums) in enumerate(zip(self.windows, scores, strict=True)):
            name = names[number % len(names)]
            log_probs[name].append(float(sums[: len(window.cuts)].sum()))
            if window.state and not name.startswith("context"):
                bits.setdefault(name, []).append(int(sums[-1]))
        record = {
            "lengths": list(self.lengths),
            "log_probs": log_probs,
            "bits": bits,
            "tokens_scored": sum(map(len, self.windows)),
        }
        return json.dumps(record)


@dataclass(frozen=True, eq=False)
class SmallerState:
    """What one way of making the state smaller keeps; arrays have one value for each length.

    Attributes:
        name, family, amount: Of the way.
        found: What is kept and lost.
        bits: Bits of the state of one sequence; NaN where no state was read.
    """

    name: str
    family: str
    amount: int
    found: Kept
    bits: Array

    def to_json(self) -> dict[str, Any]:
        """As results hold it."""
        numbers = {name: getattr(self.found, name).tolist() for name in _KEPT} | {"bits": self.bits.tolist()}
        return {
            "name": self.name, "family": self.family, "amount": self.amount, **finite_or_none(numbers),
        }  # fmt: skip

    @classmethod
    def from_json(cls, saved: SavedPart, count: int) -> SmallerState:
        """What `to_json` wrote about `count` lengths."""
        return cls(
            saved.text("name"),
            saved.text("family"),
            saved.count("amount"),
            Kept(*(saved.array(name, count) for name in _KEPT)),
            saved.array("bits", count),
        )


_KEPT = ("kept", "kept_error", "lost", "lost_error")


@dataclass(frozen=True, eq=False)
class StateCurve:
    """Information between two blocks through the whole state and through smaller ones.

    Attributes:
        lengths: Total lengths L, (n,).
        mi, standard_error: I(L / 2; L) with the whole state, nats, (n,).
        bits: Bits of the whole state of one sequence when y begins, (n,); NaN where no state was read.
        ways: The smaller states, in the order of the settings.
        keep: The share that `needed` is about.
        needed: By family of ways, tokens or bits that keep that share.
        documents, clusters: What the errors rest on.
    """

    lengths: tuple[int, ...]
    mi: Array
    standard_error: Array
    bits: Array
    ways: tuple[SmallerState, ...]
    keep: float
    needed: Mapping[str, Needed]
    documents: int
    clusters: int

    def to_json(self) -> dict[str, Any]:
        """As results hold it; null for what is unknown."""
        arrays = {name: getattr(self, name).tolist() for name in ("mi", "standard_error", "bits")}
        return {
            "lengths": list(self.lengths),
            **finite_or_none(arrays),
            "ways": [way.to_json() for way in self.ways],
            "keep": self.keep,
            "needed": [
                {
                    "family": family,
                    "amounts": [one.to_json() for one in needed.amounts],
                    "exponent": needed.exponent.to_json(),
                    "sizes": [one.to_json() for one in needed.sizes],
                    "size_exponent": needed.size_exponent.to_json(),
                    "densities": [one.to_json() for one in needed.densities],
                }
                for family, needed in self.needed.items()
            ],
            "documents": self.documents,
            "clusters": self.clusters,
        }

    @classmethod
    def from_json(cls, saved: SavedPart) -> StateCurve:
        """The curve that `to_json` wrote.

        Raises:
            L2MError: something is missing or of another shape.
        """
        lengths = tuple(saved.whole_numbers("lengths").tolist())
        count = len(lengths)
        needed = {}
        for part in saved.optional_parts("needed", "family"):
            amounts, sizes, densities = (
                tuple(Estimate.from_json(one.data) for one in part.parts(name, name))
                for name in ("amounts", "sizes", "densities")
            )
            if not len(amounts) == len(sizes) == len(densities) == count:
                raise part.error("has amounts of another number than its lengths")
            needed[part.text("family")] = Needed(
                amounts, part.estimate("exponent"), sizes, part.estimate("size_exponent"), densities
            )
        return cls(
            lengths=lengths,
            mi=saved.array("mi", count),
            standard_error=saved.array("standard_error", count),
            bits=saved.array("bits", count),
            ways=tuple(SmallerState.from_json(one, count) for one in saved.parts("ways", "way")),
            keep=saved.number("keep"),
            needed=needed,
            documents=saved.count("documents"),
            clusters=saved.count("clusters"),
        )


def state_curve(
    records: Sequence[Mapping[str, Any]],
    docs: Sequence[Mapping[str, Any]],
    settings: StateSettings,
    seed: int,
) -> StateCurve:
    """The curve from the records and documents of a run, as they stand in its samples log.

    Chunks of one source document are one cluster.
    """
    lengths, clusters = tuple(records[0]["lengths"]), [doc["source"] for doc in docs]
    terms = document_terms(records)
    whole = terms[FULL.name]
    mean = clustered_mean(whole, clusters)
    sizes = {name: np.array(values, float) for name, values in records[0]["bits"].items()}
    unknown = np.full(len(lengths), np.nan)
    ways = tuple(
        SmallerState(
            way.name, way.family, way.amount, kept_information(whole, terms[way.name], clusters),
            sizes.get(way.name, unknown),
        )
        for way in settings.ways
    )  # fmt: skip
    needed = {}
    for family in dict.fromkeys(way.family for way in ways):
        members = [way for way in ways if way.family == family]
        if len(members) > 1:
            needed[family] = needed_state(
                lengths,
                whole,
                {way.amount: terms[way.name] for way in members},
                _whole_amounts(lengths, settings.ways, members, sizes.get(FULL.name, unknown)),
                clusters,
                keep=settings.keep,
                rng=np.random.default_rng([seed, 0x7374617465]),
                resamples=settings.resamples,
                sizes={way.amount: way.bits for way in members},
                whole_sizes=sizes.get(FULL.name, unknown),
            )
    return StateCurve(
        lengths, mean.value, mean.standard_error, sizes.get(FULL.name, unknown), ways, settings.keep, needed,
        len(records), mean.clusters,
    )  # fmt: skip


def document_terms(records: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Each document's log q(y|x) − log q(y) with the whole state and with each smaller one, (documents, lengths)."""
    names = list(records[0]["log_probs"])
    arrays = {name: np.array([record["log_probs"][name] for record in records], float) for name in names}
    return {name: direct_terms(arrays[name], arrays["marginal"]) for name in names if name != "marginal"}


def _whole_amounts(
    lengths: Sequence[int], ways: Sequence[Way], members: Sequence[SmallerState], whole: Array
) -> list[float]:
    """The amount that is the whole state: all tokens of x, or the bits in which numbers are stored."""
    way = next(way for way in ways if way.name == members[0].name)
    if isinstance(way, (Context, Evicted)):
        return [way.whole(length // 2) for length in lengths]
    if isinstance(way, Pressed):
        return [100.0] * len(lengths)
    # Two ways differ by about as many bits a number as their names say; states are stored in one of these.
    one, other = members[:2]
    numbers = (one.bits - other.bits) / (one.amount - other.amount)
    return [min(_STORED_BITS, key=lambda bits: abs(bits - stored)) for stored in whole / numbers]
