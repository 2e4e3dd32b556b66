"""The mixing Santa Fe process: sub-volume growth of mutual information with a settable exponent.

Facts k = 1 … K have probabilities p_k ∝ k^(−1/β), and each has a bit that flips with probability c·p_k at
every step. A step draws k from p and emits the token (k, its current bit), here the integer 2(k − 1) + bit.

*Likelihood.* The bits of different facts are independent two-state Markov chains, and the facts drawn say
nothing about them. Of a bit that was last seen τ steps ago, with ρ_k = 1 − 2·c·p_k, the same value is expected
with probability (1 + ρ_k^τ)/2, whatever was seen before that. So

    log p(w_t | w_<t) = log p_k + log((1 ± ρ_k^τ)/2),   log p_k − ln 2 when k was not seen before.

The bits start in their stationary (fair) distribution, so the process is stationary and a block's marginal is
the same formula started at the block.

*Loss.* Position t finds its fact last seen τ < t steps ago with probability p_k (1 − p_k)^(τ−1), and saves
ln 2 − h((1 + ρ_k^τ)/2) nats then. With

    g(τ) = Σ_k p_k² (1 − p_k)^(τ−1) [ln 2 − h((1 + ρ_k^τ)/2)]

the mean negative log-likelihood is nll_t = H(p) + ln 2 − Σ_{τ<t} g(τ).

*Bipartite information.* Conditional and marginal log-probability of a position in y differ when its fact was
last seen in x, and only then; I(l; L) is therefore Σ_τ g(τ) times the number of pairs at distance τ that
straddle the split, min(τ, l, L − l, L − τ). For L = 2l that is min(τ, 2l − τ). As g(τ) falls like τ^(β−2),
I(l; r·l) grows like l^β.

*Two-point information.* Tokens at distance d share information through their bits when they are of the same
fact: I(d) = Σ_k p_k² [ln 2 − h((1 + ρ_k^d)/2)], which falls like d^(β−2), and is constant for c = 0.

The process with fixed facts is Dębowski's (Santa Fe process); bits that flip make it mixing.
Source: Ł. Dębowski, *Mixing, ergodic, and nonergodic processes with rapidly growing information between
blocks*, IEEE Trans. Inf. Theory 58 (2012).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2m_eval.fields import integer, number, setting
from l2m_eval.processes.base import (
    TokenProcess,
    check_distance,
    check_split,
    correlation_information,
    remark_on_saturation,
    straddling_pairs,
    table_size,
)
from l2m_eval.statistics.arrays import Array, Integers, Tokens

# Tokens handled at once: bounds the memory of the sorting arrays (about 40 bytes a token).
_TOKENS_AT_ONCE = 2**22


@dataclass(frozen=True)
class SantaFe(TokenProcess):
    """The mixing Santa Fe process; see the module for its formulas.

    Attributes:
        beta: Exponent of the bipartite law, between 0 and 1.
        facts: K. The vocabulary has 2K tokens.
        flip_rate: c. With c = 0 facts never change: a contradiction then has probability zero, so that
            cross-document estimates (vCLUB) are infinite, as they are by definition.
    """

    name: ClassVar[str] = "santa_fe"
    beta: float = setting(0.75, number(0, 1))
    facts: int = setting(4096, integer(1, 2**24))
    flip_rate: float = setting(0.1, number(0, 0.5, low_included=True, high_included=True))

    @property
    def vocabulary_size(self) -> int:
        return 2 * self.facts

    @cached_property
    def _log_p(self) -> Array:
        """log p_k, (K,)."""
        weights = -np.log(np.arange(1, self.facts + 1)) / self.beta
        log_p: Array = weights - np.logaddexp.reduce(weights)
        return log_p

    @cached_property
    def _log_rho(self) -> Array:
        """log ρ_k, (K,)."""
        # A single fact with c = 1/2 has ρ = 0; e^-1000 is 0 as well, and 0 · -1000 is a number.
        with np.errstate(divide="ignore"):
            log_rho: Array = np.maximum(np.log1p(-2 * self.flip_rate * np.exp(self._log_p)), -1000.0)
        return log_rho

    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Tokens:
        tokens = np.empty((documents, length), dtype=np.int64)
        cumulative = np.cumsum(np.exp(self._log_p))
        cumulative[-1] = 1.0
        rows = max(1, _TOKENS_AT_ONCE // max(1, length))
        for start in range(0, documents, rows):
            count = min(rows, documents - start)
            facts = np.searchsorted(cumulative, rng.random((count, length)), side="right")  # (count, length)
            order, gaps, by_fact = _occurrences(facts, self.facts)
            # P(the bit differs from the one last seen); 1/2 for a fact that was not seen.
            change = np.where(gaps > 0, -np.expm1(gaps * self._log_rho[by_fact]) / 2, 0.5)
            flips = rng.random((count, length)) < change
            # A fact's first bit is fair because its flip is, so the running parity needs no restart there.
            bits = np.logical_xor.accumulate(flips, axis=1)
            np.put_along_axis(tokens[start : start + count], order, 2 * by_fact + bits, axis=1)
        return tokens

    def log_probs(self, sequences: Tokens) -> Array:
        return self.log_probs_from_last(sequences, np.asarray(sequences).shape[1])

    def log_probs_from_last(self, sequences: Tokens, memory: int) -> Array:
        """log p(w_t | w_{t−memory} … w_{t−1}), (documents, length), nats: facts seen longer ago count as unseen."""
        sequences = np.asarray(sequences)
        documents, length = sequences.shape
        result = np.empty((documents, length))
        rows = max(1, _TOKENS_AT_ONCE // max(1, length))
        for start in range(0, documents, rows):
            block = sequences[start : start + rows]
            order, gaps, by_fact = _occurrences(block >> 1, self.facts)
            gaps[gaps > memory] = 0
            bits = np.take_along_axis(block & 1, order, axis=1)
            same = np.zeros(bits.shape, dtype=bool)
            same[:, 1:] = bits[:, 1:] == bits[:, :-1]
            decay = gaps * self._log_rho[by_fact]
            with np.errstate(divide="ignore"):  # log 0 where a fact that never flips is contradicted
                log_twice = np.where(same, np.log1p(np.exp(decay)), np.log(-np.expm1(decay)))
            log_twice[gaps == 0] = 0.0
            values = self._log_p[by_fact] + log_twice - math.log(2)
            np.put_along_axis(result[start : start + rows], order, values, axis=1)
        return result

    def next_token_log_probs(self, prefix: Tokens) -> Array:
        prefix = np.asarray(prefix, dtype=np.int64)
        last = np.full(self.facts, -1)
        last[prefix >> 1] = np.arange(len(prefix))
        seen = np.flatnonzero(last >= 0)
        result = np.repeat(self._log_p - math.log(2), 2).reshape(self.facts, 2)  # (K, bit)
        decay = (len(prefix) - last[seen]) * self._log_rho[seen]
        bit = prefix[last[seen]] & 1
        with np.errstate(divide="ignore"):
            result[seen, bit] += np.log1p(np.exp(decay))
            result[seen, 1 - bit] += np.log(-np.expm1(decay))
        return result.reshape(-1)

    def bipartite_mi(self, left_length: int, total_length: int) -> float:
        check_split(left_length, total_length)
        pairs = straddling_pairs(np.arange(1, total_length), left_length, total_length)
        return float(pairs @ self.information_per_lag(total_length - 1))

    def remarks(self, splits: Sequence[tuple[int, int]]) -> tuple[str, ...]:
        return remark_on_saturation(self.name, self.facts, self.law_holds_to(), splits)

    def information_per_lag(self, longest: int) -> Array:
        """g(τ) of the module's formulas for τ = 1 … longest, (longest,), nats."""
        return _lag_table(self, table_size(longest))[:longest]

    def mean_nll(self, length: int) -> Array:
        saved = np.zeros(length)
        np.cumsum(self.information_per_lag(length - 1), out=saved[1:])
        return self._first_nll - saved

    @property
    def _first_nll(self) -> float:
        return math.log(2) - float(np.exp(self._log_p) @ self._log_p)

    def two_point_mi(self, distance: int) -> float:
        check_distance(distance)
        shared = correlation_information(np.exp(distance * self._log_rho))
        return float(np.exp(2 * self._log_p) @ shared)

    def entropy_rate(self) -> float:
        """H(p) + ln 2 − Σ_τ g(τ), the sum over all τ taken in closed form for each term of a series.

        ln 2 − h((1 + x)/2) = Σ_{m≥1} x^{2m} / (2m(2m−1)), and Σ_τ p²(1−p)^{τ−1} ρ^{2mτ} = p²ρ^{2m}/(1 − (1−p)ρ^{2m}).
        The series is summed to m = 4096 and continued as the power of m that its end follows (relative error
        of the rate below 1e-8).
        """
        p = np.exp(self._log_p)
        if self.flip_rate == 0:
            return self._first_nll - math.log(2)  # every fact is seen in the end, and then known
        p, log_rho = p[p > 0], self._log_rho[p > 0]  # the rarest facts underflow for the smallest β
        terms = np.empty(4096)
        for m in range(1, len(terms) + 1):
            power = np.exp(2 * m * log_rho)
            # 1 − (1 − p)·ρ^(2m), without losing a small p to rounding.
            denominator = p * power - np.expm1(2 * m * log_rho)
            terms[m - 1] = np.sum(p**2 * power / denominator) / (2 * m * (2 * m - 1))
        m = len(terms)
        tail = 0.0
        if terms[-1] > 0:
            slope = math.log(terms[m // 2 - 1] / terms[-1]) / math.log(2)
            tail = terms[-1] * (m / (slope - 1) - 0.5)
        return self._first_nll - math.fsum(terms) - tail

    def law_holds_to(self, tolerance: float = 0.05) -> int:
        """Longest l, a power of two, at which the law does not yet feel that K is finite.

        A fact k > K that was left out would be seen in both blocks with probability about (p_k·l)² and add at
        most ln 2 then, so all of them would add at most l²·ln 2·Σ_{k>K} p_k² to I(l; 2l). The law is taken to
        hold while that is below `tolerance` times I(l; 2l); beyond it the curve bends down to saturation at
        K·ln 2. I(l; 2l) itself is interpolated between logarithmically spaced lags here.
        """
        exponent = 2 / self.beta
        log_normaliser = -self._log_p[0]  # log Σ k^(−1/β)
        left_out = math.exp((1 - exponent) * math.log(self.facts) - 2 * log_normaliser) / (exponent - 1)
        coarse = np.unique(np.geomspace(1, 2**40, 400).round())
        lags = np.unique(np.geomspace(1, 2**40, 8000).round())
        log_g = np.log(np.maximum(_information_at(self, coarse), 1e-300))
        g = np.exp(np.interp(np.log(lags), np.log(coarse), log_g))
        held = 1
        while held < 2**39:
            length = 2 * held
            curve = np.trapezoid(straddling_pairs(lags, length, 2 * length) * g, lags)
            if length**2 * math.log(2) * left_out > tolerance * curve:
                break
            held = length
        return held


def _occurrences(facts: NDArray[np.integer], count: int) -> tuple[NDArray[np.intp], Array, Integers]:
    """Positions of every row sorted by fact and time, the steps since the fact's last occurrence, the facts.

    All are (documents, length) in sorted order; the steps are 0 at a fact's first occurrence.
    """
    # numpy sorts 16-bit integers by radix, several times faster than wider ones.
    key = facts.astype(np.uint16) if count <= 2**16 else facts
    order = np.argsort(key, axis=1, kind="stable")  # (documents, length)
    by_fact = np.take_along_axis(facts, order, axis=1).astype(np.int64)
    gaps = np.zeros(order.shape)
    gaps[:, 1:] = np.where(by_fact[:, 1:] == by_fact[:, :-1], np.diff(order, axis=1), 0)
    return order, gaps, by_fact


@lru_cache(maxsize=16)
def _lag_table(process: SantaFe, longest: int) -> Array:
    table = np.concatenate(
        [
            _information_at(process, np.arange(start, min(start + 256, longest + 1)))
            for start in range(1, longest + 1, 256)
        ]
    )
    table.flags.writeable = False
    return table


def _information_at(process: SantaFe, lags: NDArray[np.integer] | Array) -> Array:
    """g(τ) at given lags, (lags,)."""
    log_p, log_rho = process._log_p, process._log_rho  # (K,)
    p = np.exp(log_p)
    with np.errstate(divide="ignore"):
        log_absent = np.log1p(-p)
    result = np.empty(len(lags))
    for i, lag in enumerate(lags):
        absent = (lag - 1) * log_absent if lag > 1 else 0.0
        # Terms below e^-60 of the largest possible are rounding; frequent facts vanish from long lags.
        weight = 2 * log_p + absent
        kept = weight > weight.max() - 60
        shared = correlation_information(np.exp(lag * log_rho[kept]))
        result[i] = np.exp(weight[kept]) @ shared
    return result
