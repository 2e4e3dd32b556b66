"""A copy process: the volume law, where the right block repeats the left one.

A token is a tuple of independent streams, one for each of the periods P, P/2, P/4, …. The symbol of the stream
with period P at position t is the one at t − P, or, with probability `noise`, a new one drawn uniformly; its
first P symbols are uniform. Every stream is P interleaved stationary Markov chains, so the process is
stationary and a block's marginal is the same formula started at the block.

With q symbols, two symbols of a stream that are j periods apart are equal with probability
(1 + (q − 1) λ^j)/q, λ = 1 − noise, and share

    J(j) = [(1 + (q−1)λ^j) ln(1 + (q−1)λ^j) + (q−1)(1 − λ^j) ln(1 − λ^j)] / q   nats,

which is ln q for noise = 0.

*Bipartite information.* Of each interleaved chain, the last symbol in x and the first in y, one period apart,
carry all of it. I(l; L) is J(1) times the number of pairs at distance P that straddle the split, summed over
the periods: Σ_P J(1) · max(0, min(P, l, L − l, L − P)).

- One period (octaves = 1): I(l; 2P) = l · J(1) for l ≤ P, the volume law in the split; at the copy point l = P
  the right block is the left one, and I = l · H without noise. Along L = 2l the curve is zero to l = P/2, rises
  to P · J(1) at l = P and stays there.
- All octaves down to period 1: I(l; 2l) = (2l − 1) · J(1) for l = 1, 2, 4, … P, the volume law at every length.

*Two-point information.* I(d) = Σ_{P divides d} J(d/P).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2m_eval.errors import L2MError
from l2m_eval.fields import integer, number, setting
from l2m_eval.processes.base import (
    TokenProcess,
    check_distance,
    check_split,
    straddling_pairs,
    symmetric_information,
)
from l2m_eval.statistics.arrays import Array, Tokens


@dataclass(frozen=True)
class Copy(TokenProcess):
    """Streams that repeat with noise; see the module for its formulas.

    Attributes:
        period: The longest period, where the law ends.
        octaves: Number of periods: period, period/2, … The vocabulary is symbols ** octaves.
        symbols: q, of each stream.
        noise: Share of symbols that are redrawn. With noise = 0 a wrong copy has probability zero, so that
            cross-document estimates (vCLUB) are infinite, as they are by definition.

    Raises:
        L2MError: a period that cannot be halved that often, or a vocabulary above 2^24 tokens.
    """

    name: ClassVar[str] = "copy"
    period: int = setting(1024, integer(1))
    octaves: int = setting(11, integer(1, 24))
    symbols: int = setting(2, integer(2, 2**24))
    noise: float = setting(0.1, number(0, 1, low_included=True, high_included=True))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.period % 2 ** (self.octaves - 1):
            raise L2MError(
                f"octaves: {self.octaves} is not accepted with period {self.period}; give a period that is a "
                f"multiple of {2 ** (self.octaves - 1)}, or fewer octaves"
            )
        if self.symbols**self.octaves > 2**24:
            raise L2MError(
                f"symbols: {self.symbols} is not accepted with {self.octaves} octaves; the vocabulary of symbols ** "
                f"octaves may have {2**24:,} tokens"
            )

    @property
    def vocabulary_size(self) -> int:
        return int(self.symbols**self.octaves)

    @property
    def periods(self) -> tuple[int, ...]:
        """Longest first."""
        return tuple(self.period >> octave for octave in range(self.octaves))

    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Tokens:
        tokens = np.zeros((documents, length), dtype=np.int64)
        for period in self.periods:
            rounds = -(-length // period)
            shape = (documents, rounds, period)
            redrawn = rng.random(shape) < self.noise
            redrawn[:, 0] = True
            last = np.where(redrawn, np.arange(rounds)[:, None], 0)  # (documents, rounds, period)
            np.maximum.accumulate(last, axis=1, out=last)
            stream = np.take_along_axis(rng.integers(0, self.symbols, shape), last, axis=1)
            tokens = tokens * self.symbols + stream.reshape(documents, -1)[:, :length]
        return tokens

    def _streams(self, tokens: Tokens) -> list[tuple[int, Tokens]]:
        """The period and the symbols of every stream, the shortest period first."""
        streams = []
        for period in reversed(self.periods):
            tokens, symbols = np.divmod(tokens, self.symbols)
            streams.append((period, symbols))
        return streams

    def log_probs(self, sequences: Tokens) -> Array:
        sequences = np.asarray(sequences, dtype=np.int64)
        result = np.full(sequences.shape, -self.octaves * math.log(self.symbols))
        for period, symbols in self._streams(sequences):
            same = symbols[:, period:] == symbols[:, :-period]
            result[:, period:] += np.where(same, self._log_ratio(True), self._log_ratio(False))
        return result

    def _log_ratio(self, same: bool) -> float:
        """log of the probability of a copied or another symbol, relative to a uniform one."""
        correlation = 1 - self.noise
        deviation = (self.symbols - 1) * correlation if same else -correlation
        return math.log1p(deviation) if deviation > -1 else -math.inf

    def next_token_log_probs(self, prefix: Tokens) -> Array:
        result = np.full(1, -self.octaves * math.log(self.symbols))
        for period, symbols in self._streams(np.asarray(prefix, dtype=np.int64)):
            stream = np.zeros(self.symbols)
            if len(symbols) >= period:
                stream[:] = self._log_ratio(False)
                stream[symbols[-period]] = self._log_ratio(True)
            # Later streams, of longer periods, are the more significant digits.
            result = (stream[:, None] + result).reshape(-1)
        return result

    def _shared(self, rounds: NDArray[np.integer] | int) -> Array:
        """J(j), nats."""
        return symmetric_information((1 - self.noise) ** np.asarray(rounds, dtype=np.float64), self.symbols)

    def bipartite_mi(self, left_length: int, total_length: int) -> float:
        check_split(left_length, total_length)
        pairs = straddling_pairs(np.array(self.periods), left_length, total_length)
        return float(pairs.sum() * self._shared(1))

    def mean_nll(self, length: int) -> Array:
        repeated = np.arange(length) >= np.array(self.periods)[:, None]  # (octaves, length)
        return self.octaves * math.log(self.symbols) - self._shared(1) * repeated.sum(axis=0)

    def two_point_mi(self, distance: int) -> float:
        check_distance(distance)
        rounds = np.array(
            [distance // period for period in self.periods if distance % period == 0], dtype=int
        )
        return float(self._shared(rounds).sum())

    def entropy_rate(self) -> float:
        return float(self.octaves * (math.log(self.symbols) - self._shared(1)))
