"""How often each token occurs, anywhere and as the first or second of the pairs at a distance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.estimators.two_point.token_sequences import LARGEST_ID, TokenSequences
from l2m_eval.statistics.arrays import Integers

CHUNK = 2**18  # tokens looked at in one go: their scratch stays in cache


def vocabulary_size(sequences: TokenSequences) -> int:
    """Greatest token id plus one; L2MError for ids that are no vocabulary's."""
    end = int(sequences.offsets[-1])
    greatest = max(int(sequences.read(i, min(i + CHUNK, end)).max()) for i in range(0, end, CHUNK))
    if greatest > LARGEST_ID:
        raise L2MError(f"token ids: {greatest} is not accepted; give integers from 0 to {LARGEST_ID:,}")
    return greatest + 1


def token_counts(sequences: TokenSequences, group: Integers, vocabulary: int) -> Integers:
    """Occurrences of each token in each group of documents, shape (groups, vocabulary).

    group: (documents,) the group of each document, from 0.
    """
    counts = np.zeros((int(group.max()) + 1, vocabulary), dtype=np.int64)
    offsets, end = sequences.offsets, int(sequences.offsets[-1])
    for start in range(0, end, CHUNK):
        stop = min(start + CHUNK, end)
        low = int(np.searchsorted(offsets, start, side="right")) - 1
        high = int(np.searchsorted(offsets, stop, side="left"))
        bounds = np.clip(offsets[low : high + 1], start, stop)
        inside = bounds[1:] - bounds[:-1]  # (documents met,) tokens in this chunk
        row = np.repeat(group[low:high], inside) * vocabulary
        np.add.at(counts.reshape(-1), row + sequences.read(start, stop), 1)
    return counts


def pair_marginals(
    sequences: TokenSequences, group: Integers, counts: Integers, distances: Sequence[int]
) -> Iterator[tuple[Integers, Integers]]:
    """Counts of first and of second tokens of the pairs at each distance, each of shape (groups, vocabulary).

    counts: what `token_counts` gave. distances: ascending. The arrays are reused: read them before the next.

    The last d tokens of a document are no pair's first, its first d no pair's second. Going up in distance each
    of those tokens is taken away once, so all distances together cost at most two passes.
    """
    firsts, seconds = counts.copy(), counts.copy()
    below = 0
    for distance in distances:
        for documents, inwards in _from_the_edge(sequences.lengths, below, distance):
            row = group[documents] * counts.shape[1]
            at_end = sequences.tokens[sequences.offsets[documents + 1] - 1 - inwards]
            at_start = sequences.tokens[sequences.offsets[documents] + inwards]
            np.subtract.at(firsts.reshape(-1), row + at_end, 1)
            np.subtract.at(seconds.reshape(-1), row + at_start, 1)
        yield firsts, seconds
        below = distance


def _from_the_edge(lengths: Integers, low: int, high: int) -> Iterator[tuple[Integers, Integers]]:
    """Places low <= i < high counted inwards from a document's edge: (document, i) of each that exists."""
    long_enough = np.flatnonzero(lengths > low)
    at_once = max(1, CHUNK // (high - low))
    for i in range(0, len(long_enough), at_once):
        documents = long_enough[i : i + at_once]
        places = np.minimum(lengths[documents], high) - low  # (documents,)
        first_of = np.repeat(np.cumsum(places) - places, places)
        yield np.repeat(documents, places), low + np.arange(places.sum()) - first_of
