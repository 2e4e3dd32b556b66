"""Entropies of all documents, and without each group of them: what the jackknife and its nulls are made of."""

from __future__ import annotations

import numpy as np

from l2m_eval.estimators.entropy import EntropyEstimator
from l2m_eval.estimators.two_point.null_expected import expected_pair_entropy
from l2m_eval.estimators.two_point.pair_counts import PairCounts
from l2m_eval.statistics.arrays import Array, Integers


def leave_one_out(estimator: EntropyEstimator, counts: Integers) -> Array:
    """Entropies of counts (groups, outcomes): of the groups together, then without each; shape (1 + groups,)."""
    total = counts.sum(axis=0)
    smooth = estimator.without_parity.contribution
    change = np.zeros(len(counts))
    for i, count in enumerate(counts):
        seen = np.flatnonzero(count)
        change[i] = (smooth(total[seen] - count[seen]) - smooth(total[seen])).sum()
    return _entropies(estimator, total, np.ones_like(total), change, counts.sum(axis=1))


def joint_entropies(estimator: EntropyEstimator, counted: PairCounts, pairs: Integers) -> Array:
    """The same of pairs; pairs: (groups,) how many each group has."""
    return _entropies(estimator, counted.counts, counted.multiplicities, counted.change_without, pairs)


def _entropies(
    estimator: EntropyEstimator, counts: Integers, multiplicities: Integers, change: Array, samples: Integers
) -> Array:
    """The entropy, and what it would be without each group by the change of the estimator without its parity."""
    total, left, smooth = samples.sum(), samples.sum() - samples, estimator.without_parity
    entropy = estimator.from_sum((multiplicities * estimator.contribution(counts)).sum(), total)
    whole = (multiplicities * smooth.contribution(counts)).sum()
    without = smooth.from_sum(whole + change, left) - smooth.from_sum(whole, total)
    return np.append(entropy, entropy + without)


def expected_pair_entropies(estimator: EntropyEstimator, firsts: Integers, seconds: Integers) -> Array:
    """What the pairs' entropy would be without dependence: of all documents, then without each group."""
    smooth = estimator.without_parity
    all_firsts, all_seconds = firsts.sum(axis=0), seconds.sum(axis=0)
    without = [
        expected_pair_entropy(all_firsts - first, all_seconds - second, smooth)
        for first, second in zip(firsts, seconds, strict=True)
    ]
    return np.array([expected_pair_entropy(all_firsts, all_seconds, smooth), *without])
