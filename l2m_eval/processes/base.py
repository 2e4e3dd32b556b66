"""What every known process offers: samples, exact log-probabilities, and exact information where it has one.

A process is a frozen dataclass; its fields are its settings. Sequences start at the start of the process'
stationary regime, so that `log_probs` of a block is the block's own marginal, which is what `q(y)` means for a
model that reads a prefix token and then y. (The tree is the one process that is not stationary; it says where
this holds.)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py

from l2m_eval.errors import L2MError
from l2m_eval.fields import readers
from l2m_eval.statistics.arrays import Array, Integers, Tokens


@dataclass(frozen=True)
class MonteCarlo:
    """A mean over sampled documents with its standard error: an estimate, never an exact value.

    Attributes:
        value: Mean, nats.
        standard_error: Of the mean, nats.
        documents: Number of independent documents it rests on.
    """

    value: float
    standard_error: float
    documents: int


class Process(ABC):
    """A distribution over sequences with exact log-probabilities. Units are nats.

    Raises:
        L2MError: on construction, for a setting of the wrong type or outside its range.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for name, read in readers(type(self)).items():
            object.__setattr__(self, name, read(name, getattr(self, name)))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name, as they were understood."""
        return asdict(self)  # type: ignore[call-overload]

    @abstractmethod
    def sample(self, documents: int, length: int, rng: np.random.Generator) -> NDArray[Any]:
        """Independent documents drawn from the process, (documents, length)."""

    @abstractmethod
    def log_probs(self, sequences: NDArray[Any]) -> Array:
        """log p(w_t | w_<t) of every position of given documents, (documents, length), nats.

        Every row is taken to start the process afresh, so the rows' sums are block log-marginals.
        """

    @abstractmethod
    def mean_nll(self, length: int) -> Array:
        """Exact −E log p(w_t | w_<t) for t = 1 … length, (length,), nats. Its running sum is H(1), H(2), …

        Raises:
            L2MError: the process has no exact value for this length.
        """

    @abstractmethod
    def two_point_mi(self, distance: int) -> float:
        """Exact I(W_t; W_{t+distance}), nats.

        Raises:
            L2MError: no distance of 1 or more.
        """

    @abstractmethod
    def entropy_rate(self) -> float:
        """lim H(n)/n, nats per position, exact.

        Raises:
            L2MError: the process has no closed form for it.
        """

    def remarks(self, splits: Sequence[tuple[int, int]]) -> tuple[str, ...]:
        """What a reader of a curve at these splits (l, L) should know: one line each, empty where all is exact."""
        return ()

    def bipartite_mi(self, left_length: int, total_length: int) -> float:
        """Exact I(l; L) between w_1…w_l and w_{l+1}…w_L, nats.

        A stationary process has I = H(l) + H(L − l) − H(L), here the sum over the right block of what its
        positions lose when they forget the left one: Σ_{t=1}^{L−l} [nll_t − nll_{l+t}].

        Raises:
            L2MError: no 1 ≤ l < L, or no exact value at this length (`estimate_bipartite_mi` has one with error).
        """
        check_split(left_length, total_length)
        nll = self.mean_nll(total_length)
        return math.fsum(nll[: total_length - left_length] - nll[left_length:])

    def estimate_bipartite_mi(
        self, left_length: int, total_length: int, documents: int, rng: np.random.Generator
    ) -> MonteCarlo:
        """I(l; L) as the mean of log p(y | x) − log p(y) over sampled documents, with its standard error.

        Both terms are exact for each document, so that sampling is the only error.
        """
        check_split(left_length, total_length)
        tokens = self.sample(documents, total_length, rng)
        conditional = self.log_probs(tokens)[:, left_length:]  # (documents, L - l)
        marginal = self.log_probs(tokens[:, left_length:])  # (documents, L - l)
        terms = (conditional - marginal).sum(axis=1)
        return MonteCarlo(float(terms.mean()), float(terms.std(ddof=1) / math.sqrt(documents)), documents)


class TokenProcess(Process):
    """A process over the tokens 0 … vocabulary_size − 1, which a language model can be measured on."""

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Number of distinct tokens."""

    @abstractmethod
    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Tokens:
        """Independent documents drawn from the process, (documents, length) token ids."""

    @abstractmethod
    def next_token_log_probs(self, prefix: Tokens) -> Array:
        """log p(· | prefix) over the whole vocabulary, (vocabulary_size,), nats. `prefix` is (n,), n ≥ 0."""

    def block_step(self, length: int) -> int:
        """Blocks of `length` tokens that begin at multiples of this are distributed as one at the beginning is.

        One where the process is stationary.
        """
        return 1

    def predictions(self, sequences: Tokens) -> Array:
        """log p(· | w_<t) at every position, (documents, length, vocabulary_size), nats: `log_probs` in full.

        One prefix at a time; the memory is that of the result.
        """
        sequences = np.asarray(sequences, dtype=np.int64)
        documents, length = sequences.shape
        result = np.empty((documents, length, self.vocabulary_size))
        for row, tokens in enumerate(sequences):
            for t in range(length):
                result[row, t] = self.next_token_log_probs(tokens[:t])
        return result


class ValueProcess(Process):
    """A process over real values whose conditionals are normal, which a Gaussian head can be trained on."""

    @abstractmethod
    def predictions(self, sequences: Array) -> tuple[Array, Array]:
        """Mean, (documents, length), and standard deviation, (length,), of every value given those before it."""

    @property
    def names(self) -> int:
        """How many different things the schedule names; 0 where values come without names."""
        return 0

    def schedule(self, length: int) -> Integers:
        """What each position is a value of, from 0, (length,): known beforehand, the same for all documents."""
        return np.zeros(length, dtype=np.int64)

    def one(self, length: int, rng: np.random.Generator) -> Array:
        """A single document, (length,): `sample` where many are drawn one by one."""
        document: Array = self.sample(1, length, rng)[0]
        return document


def remark_on_saturation(
    name: str, facts: int, holds_to: int, splits: Sequence[tuple[int, int]]
) -> tuple[str, ...]:
    """The remark on a law that a finite number of facts ends before the longest split does."""
    longest = max((min(left, total - left) for left, total in splits), default=0)
    if longest <= holds_to:
        return ()
    return (
        f"{name}: {facts:,} facts are too few for the length: the law holds to blocks of {holds_to:,} tokens (L = "
        f"{2 * holds_to:,} at ratio 2), beyond them the curve bends towards saturation; blocks of {longest:,} are "
        "measured: give more facts or shorter lengths",
    )


def check_split(left_length: int, total_length: int) -> None:
    """Refuse a split that leaves an empty block."""
    if not 1 <= left_length < total_length:
        raise L2MError(
            f"left_length: {left_length} is not accepted; give an integer from 1 to total_length - 1 "
            f"({total_length - 1})"
        )


def check_distance(distance: int) -> None:
    """Refuse a pair of a token with itself or its past."""
    if distance < 1:
        raise L2MError(f"distance: {distance} is not accepted; give an integer from 1")


def straddling_pairs(lags: NDArray[Any], left_length: int, total_length: int) -> NDArray[Any]:
    """Number of pairs (s, s + lag) with s in the left block and s + lag in the right one.

    s runs from max(1, l + 1 − lag) to min(l, L − lag), which is min(lag, l, L − l, L − lag) values. Processes
    whose dependence is a sum over most recent occurrences or partial correlations all have
    I(l; L) = Σ_lag pairs(lag) · g(lag), and differ in g alone.
    """
    shorter = min(left_length, total_length - left_length)
    return np.maximum(0, np.minimum(np.minimum(lags, total_length - lags), shorter))


def table_size(wanted: int) -> int:
    """The power of two from `wanted` up: tables grow so that the points of one curve share one."""
    return 1 << max(0, int(wanted) - 1).bit_length()


def correlation_information(correlation: NDArray[Any] | float) -> Array:
    """ln 2 − h((1 + ρ)/2): what one of two fair bits with correlation ρ tells about the other, nats."""
    rho = np.asarray(correlation, dtype=np.float64)
    # Near 0 the two terms cancel to ρ²/2; the next term of the series is below rounding there.
    small = rho**2 / 2 + rho**4 / 12
    return np.where(np.abs(rho) < 1e-3, small, (xlog1py(1 + rho, rho) + xlog1py(1 - rho, -rho)) / 2)


def ratio_information(deviation: NDArray[Any] | float) -> Array:
    """(1 + δ) ln(1 + δ) − δ, nats, for δ ≥ −1.

    With δ = p(a, b)/(p(a)p(b)) − 1 and weights p(a)p(b) it sums to the mutual information: the term −δ sums to
    zero, and without it weak dependence would drown in rounding.
    """
    delta = np.asarray(deviation, dtype=np.float64)
    small = delta**2 * (1 / 2 - delta / 6 + delta**2 / 12 - delta**3 / 20)
    return np.where(np.abs(delta) < 1e-3, small, xlog1py(1 + delta, delta) - delta)


def symmetric_information(correlation: NDArray[Any] | float, symbols: int) -> Array:
    """What two uniform symbols share that are equal with probability (1 + (q − 1)·correlation)/q, nats.

    It is [(1 + (q−1)c) ln(1 + (q−1)c) + (q−1)(1 − c) ln(1 − c)] / q, ln q at c = 1, about (q − 1)c²/2 for small c.
    """
    c = np.asarray(correlation, dtype=np.float64)
    same, other = ratio_information((symbols - 1) * c), ratio_information(-c)
    return (same + (symbols - 1) * other) / symbols
