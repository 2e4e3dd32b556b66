"""Where the blocks of a chunk begin: several for each short length, at starts of sentences, not overlapping.

A chunk of N tokens has N / L blocks of L tokens. The first begins where the chunk does. Blocks of all lengths share
their beginnings: the k-th serves every length that has more than k blocks, so that a model reads what stands before
the splits once for all of them.

Everything here is decided in characters, before any tokenizer is known: models with different tokenizers are measured
on the same places.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from l2m_eval.corpus.chunks import RESERVE, SENTENCE_END, Chunk
from l2m_eval.processes import TokenProcess

_WORD = re.compile(r"\S+")
# Characters behind a block that are kept for tokenizers: the cut of a text may change its last few tokens.
_BEHIND = 1024


@dataclass(frozen=True)
class Place:
    """A beginning of blocks in a chunk.

    Attributes:
        start: Characters from the chunk's own beginning.
        size: Characters that suffice for the longest of its blocks under nearly every tokenizer.
        lengths: Total lengths of its blocks in tokens, increasing.
    """

    start: int
    size: int
    lengths: tuple[int, ...]

    def of(self, chunk: Chunk) -> Chunk:
        """The chunk from here on; the chunk itself at its own beginning. The same object each time."""
        if self.start == 0:
            return chunk
        key = self.start, self.size
        if key not in chunk.pieces:
            end = min(len(chunk.text), self.start + RESERVE * self.size + _BEHIND)
            text = chunk.text[self.start : end]
            size = min(len(text), self.size + _BEHIND)
            chunk.pieces[key] = Chunk(
                chunk.document, chunk.source, chunk.group, chunk.offset + self.start, text, size
            )
        return chunk.pieces[key]


def block_places(
    chunk: Chunk, numbers: Mapping[int, int], longest: int, seed: int, process: TokenProcess | None = None
) -> list[Place]:
    """The beginnings of a chunk's blocks, the chunk's own first.

    Each further one, as a chunk's, is the next start of a sentence behind a place drawn uniformly, here from where
    its longest block overlaps no block of an earlier one; failing that the start before, a word's, a character's.

    Args:
        chunk: What is measured.
        numbers: How many blocks each total length has; L tokens at most (N + L) / 2L, for which there is always room.
        longest: N, the tokens that the chunk was cut for.
        seed: Of the sample. Places depend on it and the chunk, not on the order or number of chunks.
        process: Where the chunk is a document of one, whose tokens are words. Of one that is not stationary, blocks
            begin where they are distributed as one at the chunk's beginning (`TokenProcess.block_step`).
    """
    rng = np.random.default_rng([seed, 0x626C6F63, chunk.source, chunk.offset])
    sentences: list[int] | None = None
    words: list[int] = []
    places = []
    starts: list[int] = []
    for number in range(max(numbers.values())):
        lengths = tuple(sorted(length for length, count in numbers.items() if count > number))
        size = -(-chunk.size * lengths[-1] // longest)
        if number == 0:
            start = 0
        else:
            if sentences is None:
                text = chunk.text[: chunk.size]
                sentences = [found.end() for found in SENTENCE_END.finditer(text)]
                words = [found.start() for found in _WORD.finditer(text)]
            free = _free(starts, size, chunk.size - size)
            step = process.block_step(lengths[-1]) if process is not None else 1
            start = _drawn(chunk.text, free, (words[::step] if step > 1 else sentences, words), rng)
        starts.append(start)
        places.append(Place(start, size, lengths))
    return places


def _free(starts: Sequence[int], size: int, last: int) -> list[tuple[int, int]]:
    """Where a block of `size` characters may begin, up to `last`, so that it overlaps none as long at `starts`."""
    free = []
    low = 0
    for start in sorted(starts):
        if start - size > low:
            free.append((low, start - size))
        low = max(low, start + size)
    return [*free, (low, last)] if last > low else free


def _drawn(
    text: str,
    free: Sequence[tuple[int, int]],
    candidates: tuple[Sequence[int], ...],
    rng: np.random.Generator,
) -> int:
    """A start behind a place drawn uniformly from intervals, of the first kind of candidates that has one there."""
    place = int(rng.integers(sum(high - low for low, high in free)))
    for low, high in free:
        if place < high - low:
            break
        place -= high - low
    near = low + place
    for starts in candidates:
        after = bisect_left(starts, near)
        if after < len(starts) and starts[after] <= high:
            return starts[after]
        if after > 0 and starts[after - 1] >= low:
            return starts[after - 1]
    while near > low and unicodedata.combining(text[near]):
        near -= 1
    return near
