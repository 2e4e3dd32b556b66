"""A Gaussian process that is read like questions and answers: repeated noisy looks at values that stay.

Every document has K unseen values z_1 … z_K, independent and standard normal. At position t one of them is looked
at, the one that a fixed schedule k(t) names,

    w_t = √ρ · z_k(t) + √(1 − ρ) · ε_t,

so that w is jointly Gaussian with unit variances and the correlation ρ between looks at the same value, 0 between
others. The schedule belongs to the process, not to the document: value k is due with frequency p_k ~ k^(−1/β), and
at every position the one most overdue is looked at. A model of it is told k(t), as it is told t.

*Prediction.* With s = ρ/(1 − ρ), and n earlier looks at the value that sum to S, the next one is normal with mean
s·S/(1 + n·s) and variance (1 − ρ)(1 + (n + 1)·s)/(1 + n·s). The mean is an average over matching positions, shrunk by
one constant term, which is the form that softmax attention with a start token has; a recurrent state must keep S for
every value.

*Bipartite information.* n looks at one value have half the log-determinant ½ ln(1 + n·s) + (n/2) ln(1 − ρ), so

    I(l; L) = ½ Σ_k [ln(1 + a_k·s) + ln(1 + b_k·s) − ln(1 + (a_k + b_k)·s)]

with a_k looks in the left block and b_k in the right one. The values that are looked at in both are those with
p_k·l ≳ 1, about l^β: I(l; L) ~ L^β, with steps of whole values at short lengths, until l^β reaches K.

The process is not stationary but in the mean over the schedule; `log_probs` starts at the schedule's beginning, and
blocks further on are reached with `after`. The information of two positions is −½ ln(1 − ρ²) or zero by whether they
look at the same value, which no distance tells.

This is the counterpart in real values of `santa_fe_recall`. `gaussian` has a power law exactly and is stationary, but
its best predictor weighs every earlier value by a lag's own coefficient, which models learn one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.fields import integer, number, setting
from l2m_eval.processes.base import (
    MonteCarlo,
    ValueProcess,
    check_distance,
    check_split,
    remark_on_saturation,
    table_size,
)
from l2m_eval.statistics.arrays import Array, Integers


@dataclass(frozen=True)
class GaussianRecall(ValueProcess):
    """Noisy looks at K values by a fixed schedule; see the module for its formulas.

    Attributes:
        beta: Exponent of the bipartite law, between 0 and 1.
        facts: K, how many values there are to look at.
        correlation: ρ between two looks at the same value.
    """

    name: ClassVar[str] = "gaussian_recall"
    beta: float = setting(0.75, number(0, 1))
    facts: int = setting(64, integer(1, 2**16))
    correlation: float = setting(0.8, number(0, 1))

    @cached_property
    def _precision(self) -> float:
        """s: what one look adds to the precision of a value."""
        return self.correlation / (1 - self.correlation)

    @property
    def names(self) -> int:
        return self.facts

    def schedule(self, length: int) -> Integers:
        return _schedule(self.beta, self.facts, table_size(length))[:length]

    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Array:
        hidden = rng.standard_normal((documents, self.facts))
        noise = rng.standard_normal((documents, length))
        signal = hidden[:, self.schedule(length)]
        return math.sqrt(self.correlation) * signal + math.sqrt(1 - self.correlation) * noise

    def log_probs(self, sequences: Array, after: int = 0) -> Array:
        """Log-densities log p(w_t | w_<t), (documents, length), nats; of blocks behind `after` unread positions."""
        sequences = np.asarray(sequences, dtype=np.float64)
        means, deviations = self.predictions(sequences, after)
        return -(((sequences - means) / deviations) ** 2) / 2 - np.log(deviations) - math.log(2 * math.pi) / 2

    def predictions(self, sequences: Array, after: int = 0) -> tuple[Array, Array]:
        sequences = np.asarray(sequences, dtype=np.float64)
        named = self.schedule(after + sequences.shape[1])[after:]
        order = np.argsort(named, kind="stable")  # looks at the same value next to each other, in their order
        first = np.searchsorted(named[order], named[order])  # where each one's value begins
        looks = np.arange(len(order)) - first
        running = np.concatenate(
            [np.zeros((len(sequences), 1)), np.cumsum(sequences[:, order], axis=1)], axis=1
        )
        sums = running[:, :-1] - running[:, first]  # of the earlier looks at the same value
        s = self._precision
        means, deviations = np.empty(sequences.shape), np.empty(sequences.shape[1])
        means[:, order] = sums * s / (1 + looks * s)
        deviations[order] = np.sqrt((1 - self.correlation) * (1 + (looks + 1) * s) / (1 + looks * s))
        return means, deviations

    def mean_nll(self, length: int) -> Array:
        _, deviations = self.predictions(np.empty((0, length)))
        return np.log(deviations) + math.log(2 * math.pi * math.e) / 2

    def bipartite_mi(self, left_length: int, total_length: int) -> float:
        check_split(left_length, total_length)
        named, s = self.schedule(total_length), self._precision
        left = np.bincount(named[:left_length], minlength=self.facts)
        right = np.bincount(named[left_length:], minlength=self.facts)
        return math.fsum(np.log1p(left * s) + np.log1p(right * s) - np.log1p((left + right) * s)) / 2

    def estimate_bipartite_mi(
        self, left_length: int, total_length: int, documents: int, rng: np.random.Generator
    ) -> MonteCarlo:
        check_split(left_length, total_length)
        values = self.sample(documents, total_length, rng)
        terms = (
            self.log_probs(values)[:, left_length:] - self.log_probs(values[:, left_length:], left_length)
        ).sum(axis=1)
        return MonteCarlo(float(terms.mean()), float(terms.std(ddof=1) / math.sqrt(documents)), documents)

    def two_point_mi(self, distance: int) -> float:
        """None of a distance alone.

        Raises:
            L2MError: always.
        """
        check_distance(distance)
        raise L2MError(
            f"two_point_mi: {self.name} has none at distance {distance}; two positions share {self._shared:.4g} nats "
            "where the schedule names the same value, else none"
        )

    @property
    def _shared(self) -> float:
        return -math.log1p(-(self.correlation**2)) / 2

    def remarks(self, splits: Sequence[tuple[int, int]]) -> tuple[str, ...]:
        return remark_on_saturation(self.name, self.facts, self.law_holds_to(), splits)

    def law_holds_to(self) -> int:
        """Longest l, a power of two, below which no value rarer than K would be looked at in both blocks: 1/p_K."""
        ranks = np.arange(1, self.facts + 1, dtype=np.float64)
        rarest = self.facts ** (1 / self.beta) * float((ranks ** (-1 / self.beta)).sum())
        return int(2 ** math.floor(math.log2(rarest)))

    def entropy_rate(self) -> float:
        """The entropy rate of the noise alone: in the end every value is known."""
        return math.log(2 * math.pi * math.e * (1 - self.correlation)) / 2


@lru_cache(maxsize=16)
def _schedule(beta: float, facts: int, length: int) -> Integers:
    frequency = np.arange(1, facts + 1, dtype=np.float64) ** (-1 / beta)
    frequency /= frequency.sum()
    owed, named = np.zeros(facts), np.empty(length, dtype=np.int64)
    for t in range(length):
        owed += frequency
        named[t] = owed.argmax()
        owed[named[t]] -= 1
    named.flags.writeable = False
    return named
