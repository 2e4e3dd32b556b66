"""A renewal process with heavy-tailed gaps: slow two-point decay, bounded bipartite information, all of it exact.

Tokens are 0 and 1; the gaps between ones are independent with P(gap > j) = S(j) = (j + 1)^(−a), a > 1, whose mean
is μ = ζ(a). A one is expected j steps after the last one with probability 1 − S(j)/S(j − 1), whatever came before
it; the stationary process has not seen a one in its first n tokens with probability ζ(a, n + 1)/ζ(a) (Hurwitz zeta)
and expects it next with probability S(n)/ζ(a, n + 1). These two numbers are the whole likelihood.

*Loss.* The last one lies j steps back with probability S(j − 1)/μ, so with h the binary entropy

    nll_t = Σ_{j<t} S(j − 1)/μ · h(1 − S(j)/S(j−1)) + ζ(a, t)/ζ(a) · h(S(t−1)/ζ(a, t)),

and I(l; L) = H(l) + H(L − l) − H(L) at every split. It is bounded: all that the past tells of the future is the time
since the last one, and times too long to have been seen become rare, nll_t − h ~ t^(−a).

*Two-point information.* u_d = P(one at t + d | one at t) solves u_d = Σ_j P(gap = j) u_{d−j}, and u_d − 1/μ falls
like d^(1−a). The information is quadratic in it: I(d) ~ d^(−α), α = 2(a − 1).

So a two-point exponent says nothing of the bipartite law: it can be as small as one likes while I(l; L) saturates.
Unlike the tree, the process is stationary, and every block's marginal is the formula started at the block.

Source: W. Feller, *An Introduction to Probability Theory and Its Applications*, vol. 1, 3rd ed. (1968), chapter
XIII.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy, zeta

from l2m_eval.fields import number, setting
from l2m_eval.processes.base import (
    TokenProcess,
    check_distance,
    ratio_information,
    table_size,
)
from l2m_eval.statistics.arrays import Array, Tokens

_TOKENS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Renewal(TokenProcess):
    """Ones with heavy-tailed gaps in zeros; see the module for its formulas.

    Attributes:
        alpha: Exponent of the two-point law; the gaps have the tail exponent 1 + alpha/2.
    """

    name: ClassVar[str] = "renewal"
    alpha: float = setting(0.9, number(0, 20))

    @property
    def vocabulary_size(self) -> int:
        return 2

    @property
    def tail(self) -> float:
        """a, the exponent of P(gap > j)."""
        return 1 + self.alpha / 2

    @property
    def mean_gap(self) -> float:
        """μ; a token is one with probability 1/μ."""
        return float(zeta(self.tail))

    def _since_one(self, steps: NDArray[np.integer]) -> Array:
        """P(one | the last one was `steps` ≥ 1 ago)."""
        return -np.expm1(self.tail * (np.log(steps) - np.log1p(steps)))

    def _before_one(self, seen: NDArray[np.integer]) -> Array:
        """P(one | `seen` ≥ 0 tokens and no one among them)."""
        return (seen + 1.0) ** -self.tail / zeta(self.tail, seen + 1.0)

    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Tokens:
        tokens = np.zeros((documents, length), dtype=np.int64)
        none_yet = (
            zeta(self.tail, np.arange(2, length + 2)) / self.mean_gap
        )  # P(no one in n tokens), n = 1 … length
        rows = max(1, _TOKENS_AT_ONCE // max(1, length))
        for start in range(0, documents, rows):
            count = min(rows, documents - start)
            first = np.searchsorted(
                -none_yet, -rng.random((count, 1)), side="right"
            )  # zeros before the first one
            # Longer gaps than the document are all the same, and the sum of capped ones is exact.
            gaps = np.minimum(np.floor((1 - rng.random((count, length))) ** (-1 / self.tail)), length)
            gaps[:, 0] = 0
            ones = first + np.cumsum(gaps, axis=1).astype(np.int64)  # (count, length) positions
            document, order = np.nonzero(ones < length)
            tokens[start + document, ones[document, order]] = 1
        return tokens

    def log_probs(self, sequences: Tokens) -> Array:
        sequences = np.asarray(sequences, dtype=np.int64)
        documents, length = sequences.shape
        position = np.arange(length)
        last = np.full((documents, length), -1)  # position of the last one before t, -1 for none
        last[:, 1:] = np.where(sequences[:, :-1] == 1, position[:-1], -1)
        np.maximum.accumulate(last, axis=1, out=last)
        since = np.append(np.nan, self._since_one(np.arange(1, length + 1)))  # by steps
        p_one = np.where(last >= 0, since[position - last], self._before_one(position))
        return np.where(sequences == 1, np.log(p_one), np.log1p(-p_one))

    def next_token_log_probs(self, prefix: Tokens) -> Array:
        ones = np.flatnonzero(prefix)
        seen = np.array(len(prefix))
        p_one = self._since_one(seen - ones[-1]) if len(ones) else self._before_one(seen)
        return np.array([np.log1p(-p_one), np.log(p_one)])

    def mean_nll(self, length: int) -> Array:
        steps = np.arange(1, length)
        known = np.zeros(length)
        np.cumsum(steps**-self.tail / self.mean_gap * _binary_entropy(self._since_one(steps)), out=known[1:])
        seen = np.arange(length)
        unknown = zeta(self.tail, seen + 1.0) / self.mean_gap * _binary_entropy(self._before_one(seen))
        return known + unknown

    def two_point_mi(self, distance: int) -> float:
        check_distance(distance)
        share = 1 / self.mean_gap
        marginal = np.array([1 - share, share])
        excess = share * (_renewal_probabilities(self, table_size(distance + 1))[distance] - share)
        deviation = excess * np.array([[1, -1], [-1, 1]]) / np.outer(marginal, marginal)
        return float(marginal @ ratio_information(deviation) @ marginal)

    def entropy_rate(self) -> float:
        """Σ_j S(j − 1)/μ · h(1 − S(j)/S(j−1)): 2^20 terms, and the integral of what they tend to for the rest.

        The terms tend to a·j^(−a−1)·(1 + ln(j/a)); the next order is smaller by 1/j.
        """
        steps = np.arange(1, 2**20)
        terms = steps**-self.tail * _binary_entropy(self._since_one(steps))
        a, end = self.tail, len(steps) + 0.5
        rest = end**-a * (1 + math.log(end / a) + 1 / a)
        return (math.fsum(terms) + rest) / self.mean_gap


def _binary_entropy(p: Array) -> Array:
    return np.asarray(-xlogy(p, p) - xlog1py(1 - p, -p), dtype=np.float64)


@lru_cache(maxsize=8)
def _renewal_probabilities(process: Renewal, count: int) -> Array:
    """u_d = P(one at t + d | one at t) for d = 0 … count − 1, by the renewal equation."""
    steps = np.arange(1, count)
    gap = steps**-process.tail * process._since_one(steps)  # P(gap = j) = S(j−1) · P(one after j)
    u = np.empty(count)
    u[0] = 1.0
    for d in range(1, count):
        u[d] = gap[:d] @ u[d - 1 :: -1]
    u.flags.writeable = False
    return u
