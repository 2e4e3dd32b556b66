"""How often each pair of tokens occurs at given distances, in bounded memory.

A pair (w_t, w_{t+d}) and the group of its document are packed into one integer; sorting the integers brings equal
pairs together, and what is kept is only what entropies need: the histogram "count -> number of pairs with that
count", and for each group of documents how the sum of contributions c(n) changes when the group is left out. The
latter falls out of the same sort, because a pair's count without the group is n - m, with m the length of the
group's own run: all jackknife replicates cost one pass over runs instead of one recount each.

Why sorting. On 2e7 pairs of Zipf-distributed tokens (numpy 2.4, AVX-512): `np.sort` of packed uint64 0.19 s, of
uint32 0.08 s; `np.bincount` over all V^2 cells 0.14 to 0.41 s at V = 4096 and impossible for large V;
`scipy.sparse` COO to CSR 1.4 s; a stable (radix, merge) sort 1.8 s; a dictionary 7 s.

A corpus whose pairs do not fit is counted in parts, each a range of first tokens. A part reads the corpus once
for all distances. One first token so frequent that its pairs alone would not fit is counted in a dense row, one
cell per second token and group, whatever the length of the corpus.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from l2m_eval.errors import L2MError
from l2m_eval.estimators.entropy import TABLE, entropy_estimator
from l2m_eval.estimators.two_point.token_sequences import TokenSequences, write_token_sequences
from l2m_eval.statistics.arrays import Array, Integers

Keys = NDArray[Any]  # uint32 or uint64: first token, second token, group, from the highest bits to the lowest

CHUNK = 2**18  # tokens read at a time
BLOCK = 2**17  # sorted keys turned into runs at a time; both small enough for their scratch to stay in cache
FIXED_MEMORY = 160 * 2**20  # bytes: interpreter, numpy and scipy 100 MB, scratch of a fixed size the rest
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class PairCounts:
    """What remains of the pairs at one distance.

    Attributes:
        counts: Distinct counts n, ascending, shape (K,).
        multiplicities: How many different pairs have that count, shape (K,).
        change_without: Change of sum c(n) when a group of documents is left out, shape (groups,); c without its
            parity term, see `EntropyEstimator.without_parity`.
    """

    counts: Integers
    multiplicities: Integers
    change_without: Array


@dataclass(frozen=True)
class PairKeys:
    """How pair and group are packed into one integer."""

    vocabulary: int
    groups: int

    @property
    def group_bits(self) -> int:
        return (self.groups - 1).bit_length()

    @property
    def second_bits(self) -> int:
        return (self.vocabulary - 1).bit_length()

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """uint32 where it is enough: half the memory and twice the speed of the sort."""
        return np.uint32 if 2 * self.second_bits + self.group_bits <= 32 else np.uint64

    @property
    def bytes_per_pair(self) -> int:
        return np.dtype(self.dtype).itemsize

    @property
    def bytes_per_row(self) -> int:
        """Memory of one first token counted in a dense row (int64 cells)."""
        return 8 << (self.second_bits + self.group_bits)


class RunTally:
    """Collects runs of equal pairs into a histogram and the changes without each group."""

    def __init__(self, keys: PairKeys, method: str) -> None:
        self.keys = keys
        self.group_mask = keys.dtype((1 << keys.group_bits) - 1)
        self.contribution = entropy_estimator(method).without_parity.contribution
        self.histogram = np.zeros(TABLE, dtype=np.int64)
        self.large: list[Integers] = []  # counts above the table: few, since each is that many pairs
        self.change_without = np.zeros(keys.groups)

    def add_sorted(self, keys: Keys) -> None:
        """Keys in ascending order, all those of each pair that occurs among them."""
        start = 0
        while start < len(keys):
            stop = min(start + BLOCK, len(keys))
            last = keys[stop - 1] | self.group_mask  # greatest key of the pair that the block ends in
            stop += int(np.searchsorted(keys[stop:], last, side="right"))
            block = keys[start:stop]
            edges = _edges(block)
            self.add_runs(block[edges[:-1]], edges[1:] - edges[:-1])
            start = stop

    def add_runs(self, keys: Keys, seen: Integers) -> None:
        """Different keys in ascending order, (R,), and how often each was seen, (R,)."""
        if self.keys.groups == 1:
            self.add_counts(seen)
            return
        edges = _edges(keys | self.group_mask)  # where the runs of each pair begin, and the end
        total = np.add.reduceat(seen, edges[:-1])  # (P,)
        self.add_counts(total)
        of_pair = np.repeat(total, edges[1:] - edges[:-1])  # (R,)
        change = self.contribution(of_pair - seen) - self.contribution(of_pair)
        group = (keys & self.group_mask).astype(np.intp)
        self.change_without += np.bincount(group, weights=change, minlength=self.keys.groups)

    def add_row(self, row: Integers) -> None:
        """How often each second token and group joins one first token: (2^(second_bits + group_bits),)."""
        step = max(BLOCK, 1 << self.keys.group_bits)  # both powers of two: a block ends where a pair ends
        for start in range(0, len(row), step):
            seen = start + np.flatnonzero(row[start : start + step])
            if len(seen):
                self.add_runs(seen.astype(self.keys.dtype), row[seen])

    def result(self) -> PairCounts:
        small = np.flatnonzero(self.histogram)
        large, multiplicities = np.unique(
            np.concatenate([np.zeros(0, np.int64), *self.large]), return_counts=True
        )
        return PairCounts(
            np.concatenate((small, large)),
            np.concatenate((self.histogram[small], multiplicities)),
            self.change_without,
        )

    def add_counts(self, counts: Integers) -> None:
        small = counts < TABLE
        if not small.all():
            self.large.append(counts[~small])
            counts = counts[small]
        seen = np.bincount(counts)
        self.histogram[: len(seen)] += seen


def _edges(keys: Keys) -> Integers:
    """Where runs of equal keys begin, and the end of the last; for a non-empty array."""
    differs = np.empty(len(keys) + 1, dtype=bool)
    differs[0] = differs[-1] = True
    np.not_equal(keys[1:], keys[:-1], out=differs[1:-1])
    return np.flatnonzero(differs)


def merged(parts: Sequence[PairCounts]) -> PairCounts:
    """The counts of disjoint sets of pairs, together."""
    counts, where = np.unique(np.concatenate([part.counts for part in parts]), return_inverse=True)
    multiplicities = np.zeros(len(counts), dtype=np.int64)
    np.add.at(multiplicities, where, np.concatenate([part.multiplicities for part in parts]))
    return PairCounts(counts, multiplicities, np.sum([part.change_without for part in parts], axis=0))


@dataclass(frozen=True)
class Part:
    """First tokens low <= v < high, at the distances of these indices; `row`: one token, in a dense row."""

    low: int
    high: int
    distances: tuple[int, ...]
    pairs: int  # at most, and per distance
    row: bool = False


def plan(
    load: Integers,
    distances: Sequence[int],
    keys: PairKeys,
    memory: int,
    *,
    processes: int = 1,
    at_least: int = 0,
) -> list[Part]:
    """Parts whose pairs fit the memory of one process.

    load: (vocabulary,) how often each token occurs, which no distance exceeds. memory: bytes, for all processes
    together. at_least: bytes that the caller needs at another time. Raises L2MError when not even the smallest
    part fits, with the least memory that does.
    """
    budget = memory // processes - FIXED_MEMORY
    per_pair = keys.bytes_per_pair * len(distances)
    least = min(int(load.max()) * per_pair, keys.bytes_per_row)
    if least > budget or at_least > memory:
        needed = math.ceil(max((least + FIXED_MEMORY) * processes, at_least) / 1e6) / 1e3
        raise L2MError(
            f"memory_gb: {memory / 1e9:g} is too small for a vocabulary of {keys.vocabulary:,} and "
            f"{processes} process(es); give at least {needed:g}"
        )
    every = tuple(distances)
    fits = min(budget // per_pair, -(-int(load.sum()) // processes))
    parts, low, pairs = [], 0, 0
    for token in np.flatnonzero(load):
        count = int(load[token])
        if pairs and pairs + count > fits:
            parts.append(Part(low, int(token), every, pairs))
            low, pairs = int(token), 0
        if count * per_pair <= budget:
            pairs += count
            continue
        at_once = int(budget // keys.bytes_per_row)
        for i in range(0, len(every), at_once):
            parts.append(Part(int(token), int(token) + 1, every[i : i + at_once], count, row=True))
        low = int(token) + 1
    if pairs:
        parts.append(Part(low, len(load), every, pairs))
    return parts


def ranges_of_firsts(firsts: Integers, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of first tokens with at most `most` pairs each, or of one token with more.

    firsts: (vocabulary,) how often each token is the first of a pair.
    """
    ends = np.cumsum(firsts)
    low = 0
    while low < len(firsts):
        before = int(ends[low - 1]) if low else 0
        high = max(int(np.searchsorted(ends, before + most, side="right")), low + 1)
        yield low, high
        low = high


def count_part(
    sequences: TokenSequences, group: Integers, keys: PairKeys, method: str, part: Part
) -> list[PairCounts]:
    """Count the pairs of one part: one result per distance of the part.

    group: (documents,) the group of each document, 0 ... keys.groups - 1.
    """
    tallies = [RunTally(keys, method) for _ in part.distances]
    if part.row:
        rows = np.zeros((len(part.distances), keys.bytes_per_row // 8), dtype=np.int64)
        for i, packed in _packed_pairs(sequences, group, keys, part):
            np.add.at(rows[i], packed.astype(np.intp), 1)
        for tally, row in zip(tallies, rows, strict=True):
            tally.add_row(row)
    else:
        buffers = np.empty((len(part.distances), part.pairs), dtype=keys.dtype)
        filled = [0] * len(part.distances)
        for i, packed in _packed_pairs(sequences, group, keys, part):
            buffers[i, filled[i] : filled[i] + len(packed)] = packed
            filled[i] += len(packed)
        for tally, buffer, stop in zip(tallies, buffers, filled, strict=True):
            buffer[:stop].sort()
            tally.add_sorted(buffer[:stop])
    return [tally.result() for tally in tallies]


def _packed_pairs(
    sequences: TokenSequences, group: Integers, keys: PairKeys, part: Part
) -> Iterator[tuple[int, Keys]]:
    """Packed pairs of the part, chunk by chunk: (index of the distance, keys). First tokens count from `low`."""
    whole = part.low == 0 and part.high >= keys.vocabulary
    dtype = keys.dtype
    shift, group_shift = dtype(keys.second_bits + keys.group_bits), dtype(keys.group_bits)
    end = int(sequences.offsets[-1])
    for start in range(0, end, CHUNK):
        stop = min(start + CHUNK, end)
        tokens = sequences.read(start, min(stop + max(part.distances), end))
        room, its_group = _places(sequences.offsets, group, start, stop)
        first = tokens[: stop - start]
        chosen = None
        if not whole:
            chosen = np.flatnonzero((first >= part.low) & (first < part.high))
            first, room, its_group = first[chosen], room[chosen], its_group[chosen]
        base = ((first - np.uint32(part.low)).astype(dtype) << shift) | its_group.astype(dtype)
        for i, distance in enumerate(part.distances):
            if chosen is None:
                second = tokens[distance : distance + len(base)]
                head, inside = base[: len(second)], room[: len(second)] > distance
            else:
                inside = room > distance  # also keeps the second token within what was read
                second, head = tokens.take(chosen + distance, mode="clip"), base
            packed = second.astype(dtype)
            packed <<= group_shift
            packed |= head
            yield i, packed if inside.all() else packed[inside]


def _places(offsets: Integers, group: Integers, start: int, stop: int) -> tuple[Integers, Integers]:
    """For each position: tokens from it to the end of its document, itself included, and its document's group."""
    low = int(np.searchsorted(offsets, start, side="right")) - 1
    high = int(np.searchsorted(offsets, stop, side="left"))
    bounds = np.clip(offsets[low : high + 1], start, stop)
    inside = bounds[1:] - bounds[:-1]  # (documents met,) tokens in this chunk
    room = np.repeat(offsets[low + 1 : high + 1], inside) - np.arange(start, stop)
    return room, np.repeat(group[low:high], inside)


def count_pairs(
    sequences: TokenSequences,
    distances: Sequence[int],
    load: Integers,
    *,
    group: Integers | None = None,
    method: str = "grassberger",
    memory: int = 4 * 10**9,
    at_least: int = 0,
    processes: int = 1,
    advance: Callable[[int], object] = lambda pairs: None,
) -> list[PairCounts]:
    """Counts of the pairs at each distance; pairs never cross from one document into the next.

    Args:
        sequences: The documents.
        distances: d >= 1, all different.
        load: How often each token of the vocabulary occurs, shape (vocabulary,).
        group: Group of each document, shape (documents,), from 0; None: one group, nothing left out.
        method: Entropy estimator whose contributions `change_without` holds.
        memory: Bytes, for all processes together.
        at_least: Bytes that the caller needs at another time: less memory is refused before work begins.
        processes: Number of processes.
        advance: Called with a number of pairs (at most so many) each time a part is finished.

    Raises:
        L2MError: The memory is too small; the line names the least that works.
    """
    if group is None:
        group = np.zeros(len(sequences.lengths), dtype=np.int64)
    keys = PairKeys(len(load), int(group.max()) + 1)
    parts = plan(load, distances, keys, memory, processes=processes, at_least=at_least)
    found: dict[int, list[PairCounts]] = {distance: [] for distance in distances}
    with on_disk(sequences, processes > 1) as shared:
        count = functools.partial(count_part, shared, group, keys, method)
        for part, counted in zip(parts, in_processes(count, parts, processes), strict=True):
            for distance, counts in zip(part.distances, counted, strict=True):
                found[distance].append(counts)
            advance(part.pairs * len(part.distances))
    return [merged(found[distance]) for distance in distances]


@contextmanager
def on_disk(sequences: TokenSequences, wanted: bool) -> Iterator[TokenSequences]:
    """The sequences, from a temporary file if other processes are to read them and they are in memory."""
    if not wanted or sequences.path is not None:
        yield sequences
        return
    with tempfile.TemporaryDirectory(prefix="l2m-tokens-") as folder:
        pieces = np.split(sequences.tokens, sequences.offsets[1:-1])
        yield write_token_sequences(pieces, folder)


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[Result]:
    """function(item) for each item, in order. Fresh interpreters: a fork would copy a model's threads and locks."""
    if processes == 1 or len(items) < 2:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(
        min(processes, len(items)), mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        yield from pool.map(function, items)
