"""Sizes of a history state at many lengths, from single passes: where layers stop growing, and how it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError, cause
from l2m_eval.history_state.cache import StateTensor
from l2m_eval.history_state.forward import OutOfReach, Pass, Run
from l2m_eval.history_state.state import KINDS, HistoryState, LayerState, growth_places, saturation
from l2m_eval.statistics.arrays import Integers

# Lengths at which models that loop over tokens are looked at, all far beyond any convolution.
SHORT_LENGTHS = (8, 16, 32)
# Longer texts are not run, not even as shapes (products of lengths overflow): whole periods are added instead.
LONGEST_PASS = 2**24

PerLayer = dict[tuple[int | None, str], tuple[int, int, str]]  # (layer, kind): elements, bits, dtype


class Survey:
    """Sizes found so far, per layer and kind, and where looking further failed.

    Attributes:
        found: Sizes by length.
        reach: Lengths above it are out of reach; None while none has failed.
        failure: Why the first length above it could not be run.
        notes: Sentences for the reader on how sizes came about.
    """

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.name = run, name
        self.found: dict[int, PerLayer] = {}
        self.windows: set[int] = set()
        self.longest = LONGEST_PASS
        self.reach: int | None = None
        self.failure: Exception | None = None
        self.notes: tuple[str, ...] = ()

    def look(self, length: int) -> bool:
        """Run a length unless it is known; False where it cannot be run."""
        if length in self.found:
            return True
        if length > self.longest or (self.reach is not None and length > self.reach):
            return False
        try:
            seen = self.run(length)
        except Exception as error:
            self.reach, self.failure = length - 1, error
            return False
        self.windows |= set(seen.windows)
        self.found[length] = per_layer(seen.tensors)
        self._note_copies(seen, length)
        return True

    def refuse(self, length: int) -> None:
        """Raise why a length that was asked for cannot be answered."""
        if isinstance(self.failure, L2MError):
            raise self.failure
        raise L2MError(
            f"lengths: {self.name} cannot run {length:,} tokens: {self.failure and cause(self.failure)}; give "
            f"lengths up to {max(self.found, default=0):,}"
        )

    def _note_copies(self, seen: Pass, length: int) -> None:
        distinct, allocated = (
            sum(getattr(t, size) for t in seen.tensors) for size in ("elements", "allocated")
        )
        if allocated > distinct and not self.notes:
            self.notes = (
                "keys and values are stored once for every head that attends with them; copies hold no information "
                f"and are not counted: the cache allocates {allocated:,} elements for the {distinct:,} distinct "
                f"ones of {length:,} token{'' if length == 1 else 's'}",
            )


def survey(
    run: Run,
    lengths: Sequence[int],
    windows: Sequence[int],
    name: str,
    *,
    far: bool = True,
    limit: int | None = None,
) -> tuple[dict[int, PerLayer], tuple[str, ...]]:
    """Sizes at the lengths asked for, and at those that show where the state stops growing or does not.

    Three lengths of our own choice, an octave apart and far beyond every window, tell how it grows in the end.
    Lengths that cannot be run continue the straight line through the last three that can: those beyond the positions
    that the model has, and those that take too many operations.

    Args:
        run: One forward pass.
        lengths: What is asked for, increasing.
        windows: Sliding windows that the configuration names.
        name: What to call the model in messages.
        far: Whether to look beyond the lengths asked for.
        limit: Most positions that the model has, where it says so.

    Raises:
        L2MError: a length that was asked for cannot be run, and no straight line leads there.
    """
    seen = Survey(run, name)
    if not seen.look(1):
        seen.refuse(1)
    widest = max((*windows, *seen.windows, 1))
    beyond = 2 ** int(np.ceil(np.log2(max(4096, 2 * widest))))
    ends = (beyond, 2 * beyond, 4 * beyond)
    seen.longest = max(LONGEST_PASS, ends[-1])
    if far and not all(seen.look(n) for n in (ends[0], 2, *ends[1:])):
        for n in _within_reach(lengths, widest, limit):
            seen.look(n)
    seen.look(2)
    for n in lengths:
        seen.look(n)
    for n in _kinks(seen.found):
        seen.look(n)
    missing = [n for n in lengths if n not in seen.found]
    if missing and far and all(n in seen.found for n in ends):
        _add_periods(seen, missing, ends)
    elif missing:
        out_of_reach = isinstance(seen.failure, OutOfReach)
        if not far or not (out_of_reach or (limit and seen.reach is not None and seen.reach >= limit)):
            seen.refuse(missing[0])
        last = max(seen.found)
        if last <= widest and widest > 1 and out_of_reach:
            raise L2MError(
                f"lengths: {name} can be examined up to {last:,} tokens only, not beyond its window of {widest:,}; "
                "load the model, or declare the size yourself: a formula, a table or a constant"
            )
        _continue(seen.found, missing, name)
        why = "" if out_of_reach else f": the model has {limit:,} positions and cannot run more"
        seen.notes += (f"sizes above {last:,} tokens continue the straight line found up to there{why}",)
    return seen.found, seen.notes


def _within_reach(lengths: Sequence[int], widest: int, limit: int | None) -> list[int]:
    """Lengths where longer ones cannot be run: a few short ones, some beyond the window, some up to the limit."""
    around = {2 * widest, 3 * widest, 4 * widest} if widest > 1 else set()
    below = {limit // 4, limit // 2, limit} - {0} if limit else set()
    return sorted({2, *SHORT_LENGTHS, *(n for n in lengths if n <= SHORT_LENGTHS[-1]), *around, *below})


def _add_periods(seen: Survey, missing: Sequence[int], ends: tuple[int, int, int]) -> None:
    """Sizes at lengths that are not run: beyond all windows each further period of tokens adds the same.

    Compressed caches grow by an entry every few tokens. A period is a multiple of those, and whole numbers are
    added to the size that the left-over part of a period leads to, so that sizes stay exact.
    """
    _, b, c = ends
    for n in missing:
        periods, rest = divmod(n - b, c - b)
        if not seen.look(b + rest):
            seen.refuse(n)
        at_b, at_c, part = seen.found[b], seen.found[c], seen.found[b + rest]
        seen.found[n] = {
            key: (
                elements + periods * (at_c[key][0] - at_b[key][0]),
                bits + periods * (at_c[key][1] - at_b[key][1]),
                dtype,
            )
            for key, (elements, bits, dtype) in part.items()
        }


def _continue(found: dict[int, PerLayer], missing: Sequence[int], name: str) -> None:
    a, b, c = sorted(found)[-3:]
    line = {}
    for key, (elements, bits, dtype) in found[c].items():
        at_a, at_b = found[a].get(key, (0, 0, ""))[0], found[b].get(key, (0, 0, ""))[0]
        if (elements - at_b) * (b - a) != (at_b - at_a) * (c - b):
            raise L2MError(
                f"lengths: {name} can be examined up to {c:,} tokens only, where its state does not grow along a "
                f"straight line; give lengths up to {c:,}, or load the model"
            )
        line[key] = (elements - at_b, elements, bits, dtype)
    for n in missing:
        found[n] = {
            key: (
                size := elements + grown * (n - c) // (c - b),
                size * bits // max(elements, 1),
                dtype,
            )
            for key, (grown, elements, bits, dtype) in line.items()
        }


def _kinks(found: dict[int, PerLayer]) -> list[int]:
    lengths, layers = _tables(found)
    ends = {saturation(lengths, sizes) for sizes, _, _ in layers.values()}
    return sorted(n for n in ends if n is not None)


def _tables(
    found: dict[int, PerLayer],
) -> tuple[Integers, dict[tuple[int | None, str], tuple[Integers, Integers, str]]]:
    """Known lengths (p,), and per layer and kind the elements (p,), the bits (p,) and the dtype."""
    lengths = sorted(found)
    keys = sorted(
        {key for layers in found.values() for key in layers},
        key=lambda key: (-1 if key[0] is None else key[0], KINDS.index(key[1])),
    )
    tables = {}
    for key in keys:
        rows = [found[n].get(key, (0, 0, "")) for n in lengths]
        tables[key] = (
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.int64),
            next(row[2] for row in reversed(rows) if row[2]),
        )
    return np.array(lengths, np.int64), tables


def assembled(
    found: dict[int, PerLayer],
    asked: Sequence[int],
    *,
    name: str,
    source: str,
    notes: tuple[str, ...],
    vocabulary: int | None,
    context: int | None,
) -> HistoryState:
    """The history state of sizes at known lengths; those asked for are among them."""
    _check_sizes(found, name)
    known, tables = _tables(found)
    kinds = tuple(kind for kind in KINDS if any(key[1] == kind for key in tables))
    zero = np.zeros(len(known), np.int64)
    elements = np.stack([sum((t[0] for key, t in tables.items() if key[1] == kind), zero) for kind in kinds])
    bits = np.stack([sum((t[1] for key, t in tables.items() if key[1] == kind), zero) for kind in kinds])
    places = np.searchsorted(known, asked)
    return HistoryState(
        model=name,
        source=source,
        lengths=np.array(asked, np.int64),
        kinds=kinds,
        elements=elements[:, places],
        bits=bits[:, places],
        probe_lengths=known,
        probe_elements=elements,
        probe_bits=bits,
        layers=tuple(_layer(key, known, sizes, dtype) for key, (sizes, _, dtype) in tables.items()),
        notes=notes,
        vocabulary=vocabulary,
        context=context,
    )


def _check_sizes(found: dict[int, PerLayer], name: str) -> None:
    for n in sorted(found):
        if sum(bits for _, bits, _ in found[n].values()) >= 2**63:
            raise L2MError(
                f"lengths: the state of {name} after {n:,} tokens has 2^63 bits or more; give shorter lengths"
            )


def _layer(key: tuple[int | None, str], known: Integers, sizes: Integers, dtype: str) -> LayerState:
    layer, kind = key
    end = saturation(known, sizes)
    if end is not None:
        per_token = 0.0 if end == 1 else float(sizes[0])
        return LayerState(layer, kind, per_token, int(sizes[-1]), end, dtype)
    b, c = growth_places(known)[-2:]
    return LayerState(layer, kind, float((sizes[c] - sizes[b]) / (known[c] - known[b])), None, None, dtype)


def per_layer(tensors: Sequence[StateTensor]) -> PerLayer:
    """Elements, bits and dtypes of the tensors of each layer and kind."""
    sums: PerLayer = {}
    for t in tensors:
        elements, bits, dtype = sums.get((t.layer, t.kind), (0, 0, ""))
        if t.dtype not in dtype.split(" and "):
            dtype = f"{dtype} and {t.dtype}" if dtype else t.dtype
        sums[t.layer, t.kind] = (elements + t.elements, bits + t.bits, dtype)
    return sums


def sizes_of(layers: PerLayer) -> dict[tuple[int | None, str], int]:
    """Elements alone, which two ways of counting must agree in."""
    return {key: elements for key, (elements, _, _) in layers.items()}


def check_lengths(lengths: Any) -> tuple[int, ...]:
    """The lengths, increasing, each once.

    Raises:
        L2MError: none, or one that is not a positive whole number up to 2^40.
    """
    try:
        values = np.atleast_1d(np.asarray(lengths)).ravel().tolist()
    except (ValueError, OverflowError) as error:
        raise L2MError("lengths: not all are whole numbers; give whole numbers from 1 to 2^40") from error
    for value in values:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not 0 < value <= 2**40:
            raise L2MError(f"lengths: {value!r} is not a number of tokens; give whole numbers from 1 to 2^40")
    if not values:
        raise L2MError("lengths: none given; give at least one number of tokens, for example 1024")
    return tuple(sorted({int(value) for value in values}))
