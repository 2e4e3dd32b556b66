"""A hierarchical process: two-point information falls like a power, while bipartite information is bounded.

Tokens are the leaves of an infinite binary tree, from left to right. Every node copies its parent's symbol with
probability λ and otherwise draws one of q symbols uniformly. Two leaves whose last common ancestor is h levels up
are equal with probability (1 + (q − 1) λ^(2h))/q, and leaves at distance d have h ≈ log₂ d, so that

    I(d) ~ d^(−α),  α = −4 log₂ λ.

The left and the right half of a subtree are connected through their two roots alone: I(l; 2l) at l = 2^k is at
most what these share, J(λ²) ≤ ln q, at any length. That is the opposite of the Santa Fe process, where two-point
information falls fast and bipartite information grows. For α < 2 (2λ² > 1, the Kesten–Stigum threshold) the roots
can be inferred from any number of leaves and I(l; 2l) keeps a positive limit; with 2λ² < 1 and few symbols it
falls to zero.

*Likelihood.* Message passing. Upwards, every subtree's likelihood given its root's symbol; downwards, the
distribution of every node given all leaves to the left of its subtree. The latter at leaf t is p(w_t | w_<t).

*Where a block's fresh start is its marginal.* The process is not stationary: a block started afresh is taken to
be at the left edge of the tree. That is right for a block of m tokens that starts at a multiple of the first power
of two from m up, in particular for l = 2^k and L ≤ 2l. Other splits are refused.

Source: H. W. Lin, M. Tegmark, *Criticality in formal languages and statistical physics*, Entropy 19 (2017);
E. Mossel, Y. Peres, *Information flow on trees*, Ann. Appl. Probab. 13 (2003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.fields import integer, number, setting
from l2m_eval.processes.base import (
    MonteCarlo,
    TokenProcess,
    check_distance,
    check_split,
    symmetric_information,
    table_size,
)
from l2m_eval.statistics.arrays import Array, Tokens

# Most sequences that are enumerated for exact block entropies.
ENUMERATED = 2**16
# Messages (leaves times symbols) held at once by one pass.
_MESSAGES_AT_ONCE = 2**22


@dataclass(frozen=True)
class Tree(TokenProcess):
    """Leaves of a binary tree of copied symbols; see the module for its formulas.

    Attributes:
        alpha: Exponent of the two-point law, α = −4 log₂ λ.
        symbols: q, the vocabulary.
    """

    name: ClassVar[str] = "tree"
    alpha: float = setting(0.9, number(0, 100))
    symbols: int = setting(16, integer(2, 4096))

    @property
    def vocabulary_size(self) -> int:
        return self.symbols

    @property
    def copied(self) -> float:
        """λ, the probability that a node has its parent's symbol without a draw."""
        return float(2 ** (-self.alpha / 4))

    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Tokens:
        nodes = rng.integers(0, self.symbols, (documents, 1))
        while nodes.shape[1] < length:
            nodes = np.repeat(nodes, 2, axis=1)
            drawn = rng.integers(0, self.symbols, nodes.shape)
            nodes = np.where(rng.random(nodes.shape) < self.copied, nodes, drawn)
        return nodes[:, :length]

    def _step(self, messages: Array) -> Array:
        """Over one edge, in either direction (the channel is symmetric), (..., symbols)."""
        return self.copied * messages + (1 - self.copied) * messages.mean(axis=-1, keepdims=True)

    def _predictions(self, tokens: Tokens, positions: int) -> Array:
        """p(w_t = · | w_<t) for the first `positions` leaves, (documents, positions, symbols)."""
        documents, known = tokens.shape
        messages = np.ones((documents, table_size(positions), self.symbols))
        messages[:, :known] = np.eye(self.symbols)[tokens]
        left_children = []  # what left siblings say of their parents, leaves first: (documents, parents, symbols)
        while messages.shape[1] > 1:
            messages = self._step(messages)
            left, right = messages[:, ::2], messages[:, 1::2]
            left_children.append(left)
            messages = left * right
            messages /= messages.max(axis=-1, keepdims=True)  # only ratios matter, and products underflow
        expected = np.full((documents, 1, self.symbols), 1 / self.symbols)
        for left in reversed(left_children):
            informed = expected * left
            informed /= informed.sum(axis=-1, keepdims=True)
            expected = self._step(np.stack([expected, informed], axis=2)).reshape(documents, -1, self.symbols)
        return expected[:, :positions]

    def log_probs(self, sequences: Tokens) -> Array:
        sequences = np.asarray(sequences, dtype=np.int64)
        documents, length = sequences.shape
        result = np.empty((documents, length))
        rows = max(1, _MESSAGES_AT_ONCE // (table_size(length) * self.symbols))
        for start in range(0, documents, rows):
            block = sequences[start : start + rows]
            predicted = self._predictions(block, length)
            result[start : start + rows] = np.log(
                np.take_along_axis(predicted, block[..., None], axis=2)[..., 0]
            )
        return result

    def next_token_log_probs(self, prefix: Tokens) -> Array:
        prefix = np.asarray(prefix, dtype=np.int64)
        return np.log(self._predictions(prefix[None], len(prefix) + 1)[0, -1])

    def two_point_mi(self, distance: int, length: int | None = None) -> float:
        """Exact I(W_t; W_{t+d}) with t uniform over a document, as pairs are counted, nats.

        A pair at distance d lies in one subtree of 2^h leaves with probability 1 − d/2^h, so its last common
        ancestor is exactly h up with probability d/2^h, but 1 − d/2^h for the smallest such subtree. The pairs'
        mixture over h is again a symmetric channel, with the mean correlation.

        Args:
            distance: d.
            length: Of the document; None for the limit of long ones.
        """
        check_distance(distance)
        smallest = int(distance).bit_length()  # subtrees of 2^h > d leaves
        if length is None:
            # Σ_{h>s} d/2^h λ^(2h) is geometric.
            size, decay = 2**smallest, self.copied**2
            mean = (1 - distance / size) + distance / size * (decay / 2) / (1 - decay / 2)
            return float(symmetric_information(decay**smallest * mean, self.symbols))
        heights = np.arange(smallest - 1, table_size(length).bit_length() + 1)
        blocks, rest = np.divmod(length, 2**heights)
        within = blocks * np.maximum(0, 2**heights - distance) + np.maximum(0, rest - distance)
        weights = np.diff(within) / (length - distance)
        return float(symmetric_information(weights @ self.copied ** (2 * heights[1:]), self.symbols))

    def bipartite_bound(self) -> float:
        """Upper bound of I(l; 2l) at l = 2^k for every k, nats: what the roots of the two halves share."""
        return float(symmetric_information(self.copied**2, self.symbols))

    def bipartite_mi(self, left_length: int, total_length: int) -> float:
        """Exact I(l; L) for splits at which a fresh start is the marginal, nats.

        Raises:
            L2MError: another split, or more sequences than are enumerated.
        """
        self._check_aligned(left_length, total_length)
        entropies = np.append(0.0, np.cumsum(self.mean_nll(total_length)))
        right_length = total_length - left_length
        return float(entropies[left_length] + entropies[right_length] - entropies[total_length])

    def estimate_bipartite_mi(
        self, left_length: int, total_length: int, documents: int, rng: np.random.Generator
    ) -> MonteCarlo:
        self._check_aligned(left_length, total_length)
        return super().estimate_bipartite_mi(left_length, total_length, documents, rng)

    def block_step(self, length: int) -> int:
        return table_size(length)  # a block within a subtree of its own

    def remarks(self, splits: Sequence[tuple[int, int]]) -> tuple[str, ...]:
        crooked = sorted({total for left, total in splits if left % table_size(total - left)})
        if not crooked:
            return ()
        return (
            "tree: a right block has its marginal at aligned splits alone (l a multiple of a power "
            f"of two from L − l up); at L = {', '.join(map(str, crooked))} the estimate is not of the mutual "
            "information: give lengths that are powers of two, at ratio 2",
        )

    def _check_aligned(self, left_length: int, total_length: int) -> None:
        check_split(left_length, total_length)
        step = table_size(total_length - left_length)
        if left_length % step:
            raise L2MError(
                f"left_length: {left_length} is not accepted with total_length {total_length}; in a tree a right "
                f"block of {total_length - left_length} starts at a multiple of {step}"
            )

    def mean_nll(self, length: int) -> Array:
        """Exact, from the probabilities of all sequences of `length`.

        Raises:
            L2MError: there are more than `ENUMERATED`.
        """
        longest = int(math.log(ENUMERATED) / math.log(self.symbols) + 1e-9)
        if length > longest:
            raise L2MError(
                f"total_length: {length} is not accepted; tree with {self.symbols} symbols is exact up to {longest} "
                "tokens (all sequences are enumerated), estimate_bipartite_mi gives a Monte-Carlo mean"
            )
        return _enumerated_nll(self, length)

    def entropy_rate(self) -> float:
        raise L2MError("entropy_rate: a tree has no closed form for it; sampled log_probs estimate it")


@lru_cache(maxsize=16)
def _enumerated_nll(process: Tree, length: int) -> Array:
    sequences = np.indices((process.symbols,) * length).reshape(length, -1).T
    log_probs = process.log_probs(sequences)
    nll: Array = -np.exp(log_probs.sum(axis=1)) @ log_probs
    nll.flags.writeable = False
    return nll
