"""The null of a text that repeats itself: pairs of the text with itself, shifted so far that nothing connects them.

Shuffling makes every pair independent of every other. In real sequences neighbours are not: a token that stays, or
comes in bursts, gives the same pair several times in a row, and N such pairs sample the table of pairs as thinly as
fewer independent ones would. What they leave as bias is larger than what shuffled tokens do. Pairing w_t with
w_{t+s}, s a large random fraction of the whole text and the same for all t, keeps how tokens follow each other on
both sides and takes away only what first and second token have to do with each other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from l2m_eval.estimators.two_point.marginal_counts import CHUNK
from l2m_eval.estimators.two_point.null_shuffled import pair_information
from l2m_eval.estimators.two_point.pair_counts import PairKeys, RunTally, ranges_of_firsts
from l2m_eval.estimators.two_point.token_sequences import TokenSequences
from l2m_eval.statistics.arrays import Integers

PART = 2**24  # pairs sorted at a time


def shifted_pair_information(
    sequences: TokenSequences, size: int, vocabulary: int, method: str, rng: np.random.Generator
) -> float:
    """Mutual information in nats of `size` successive pairs of the text with itself, shifted; its true value is zero.

    The documents are taken end to end, and the end joins the start. The shift is drawn between a quarter and three
    quarters of the whole, the first pair anywhere.
    """
    total = int(sequences.offsets[-1])
    start = int(rng.integers(total))
    shift = int(rng.integers(total // 4, max(3 * total // 4, total // 4 + 1)))
    firsts, seconds = np.zeros(vocabulary, np.int64), np.zeros(vocabulary, np.int64)
    for first, second in _pairs(sequences, start, shift, size):
        firsts += np.bincount(first, minlength=vocabulary)
        seconds += np.bincount(second, minlength=vocabulary)
    keys = PairKeys(vocabulary, groups=1)
    tally = RunTally(keys, method)
    for low, high in ranges_of_firsts(firsts, PART):
        packed = np.empty(int(firsts[low:high].sum()), dtype=keys.dtype)
        filled = 0
        for first, second in _pairs(sequences, start, shift, size):
            inside = (first >= low) & (first < high)
            part = first[inside].astype(keys.dtype) - keys.dtype(low)
            part <<= keys.dtype(keys.second_bits)
            part |= second[inside].astype(keys.dtype)
            packed[filled : filled + len(part)] = part
            filled += len(part)
        packed.sort()
        tally.add_sorted(packed)
    return pair_information(firsts, seconds, tally.result(), method)


def _pairs(
    sequences: TokenSequences, start: int, shift: int, size: int
) -> Iterator[tuple[Integers, Integers]]:
    for low in range(0, size, CHUNK):
        count = min(CHUNK, size - low)
        yield _read(sequences, start + low, count), _read(sequences, start + low + shift, count)


def _read(sequences: TokenSequences, start: int, count: int) -> Integers:
    """`count` tokens from a place on, around the end if need be."""
    total = int(sequences.offsets[-1])
    start %= total
    pieces = []
    while count:
        piece = sequences.read(start, min(start + count, total))
        pieces.append(piece)
        count -= len(piece)
        start = 0
    return np.concatenate(pieces).astype(np.int64)
