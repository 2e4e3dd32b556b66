"""The null: the entropy of pairs when tokens are independent but keep their frequencies.

The second tokens of a pair sample are shuffled against the first ones. Both marginal counts stay exactly as they
are, so the shuffled sample has the same size, the same frequencies and the same undersampling as the real one, and
no dependence whatever: its mutual information is all bias.

The shuffle is drawn part by part and never exists as a whole: for a range of first tokens the multiset of their
second tokens is a draw without replacement from those still left, and only within the part are tokens shuffled.
The result has the distribution of one shuffle of everything, from the marginal counts alone, without reading the
corpus and in a fixed amount of memory.
"""

from __future__ import annotations

import numpy as np

from l2m_eval.estimators.entropy import entropy_estimator
from l2m_eval.estimators.two_point.pair_counts import PairCounts, PairKeys, RunTally, ranges_of_firsts
from l2m_eval.statistics.arrays import Integers

PART = 2**20  # pairs shuffled at a time; fixed, so that a seed gives the same null whatever the memory


def shuffled_pair_information(
    firsts: Integers, seconds: Integers, method: str, rng: np.random.Generator
) -> float:
    """Mutual information in nats of one shuffled pair sample, whose true value is zero.

    firsts, seconds: (vocabulary,) how often each token is first, and second, of a pair; equal sums.
    """
    return pair_information(firsts, seconds, _shuffled_pairs(firsts, seconds, method, rng), method)


def pair_information(firsts: Integers, seconds: Integers, paired: PairCounts, method: str) -> float:
    """H(first tokens) + H(second tokens) - H(pairs), nats, from their counts."""
    estimator, size = entropy_estimator(method), int(firsts.sum())
    marginal = sum(
        float(estimator.from_sum(estimator.contribution(n).sum(), size)) for n in (firsts, seconds)
    )
    joint = (paired.multiplicities * estimator.contribution(paired.counts)).sum()
    return marginal - float(estimator.from_sum(joint, size))


def _shuffled_pairs(firsts: Integers, seconds: Integers, method: str, rng: np.random.Generator) -> PairCounts:
    keys = PairKeys(len(firsts), groups=1)
    tally = RunTally(keys, method)
    left = seconds.copy()
    for low, high in ranges_of_firsts(firsts, PART):
        size = int(firsts[low:high].sum())
        drawn = draw_without_replacement(rng, left, size)
        left -= drawn
        if high == low + 1:  # one first token: how often each second joins it is the pair's count
            tally.add_counts(drawn[drawn > 0])
            continue
        shuffled = np.repeat(np.arange(len(drawn), dtype=keys.dtype), drawn)
        rng.shuffle(shuffled)
        packed = np.repeat(np.arange(high - low, dtype=keys.dtype), firsts[low:high])
        packed <<= keys.dtype(keys.second_bits)
        packed |= shuffled
        packed.sort()
        tally.add_sorted(packed)
    return tally.result()


def draw_without_replacement(rng: np.random.Generator, counts: Integers, size: int) -> Integers:
    """How many of each kind are among `size` items drawn from `counts` of each kind; multivariate hypergeometric.

    numpy's own stops at 10^9 items. Taking every item with probability size / total gives a set that is uniform
    given its size; adding or removing a few items at random then makes the size right, and uniform it stays.
    """
    taken = rng.binomial(counts, size / counts.sum())
    excess = int(taken.sum()) - size
    if excess > 0:
        return taken - _few_of(rng, taken, excess)
    if excess < 0:
        return taken + _few_of(rng, counts - taken, -excess)
    return taken


def _few_of(rng: np.random.Generator, counts: Integers, size: int) -> Integers:
    items = rng.choice(int(counts.sum()), size, replace=False, shuffle=False)
    return np.bincount(np.searchsorted(np.cumsum(counts), items, side="right"), minlength=len(counts))
