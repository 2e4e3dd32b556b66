"""Markov chains and hidden Markov models: the area law, where mutual information stops growing.

*Markov chain.* The future depends on the past through the last state alone, so for every split
I(l; L) = I(W_t; W_{t+1}) = H(π) − h, with π the stationary distribution and h the entropy rate. The two-point
curve comes from powers of the transition matrix, p(w_t = a, w_{t+d} = b) = π_a (T^d)_ab, and falls like
|λ₂|^(2d).

*Hidden Markov model.* Past and future are independent given the hidden state between them, so that I(l; L) is
at most the entropy of a hidden state. The likelihood is the forward algorithm's. The two-point curve is exact
(emission ᵀ diag(π) T^d emission); the block entropies are not a finite expression of the parameters and are
found by enumerating all sequences, up to `ENUMERATED` of them.

Source: T. M. Cover, J. A. Thomas, *Elements of Information Theory*, 2nd ed. (2006), sections 4.2 and 4.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
from scipy.special import xlogy

from l2m_eval.errors import L2MError
from l2m_eval.fields import integer, number, setting
from l2m_eval.processes.base import (
    TokenProcess,
    check_distance,
    check_split,
    ratio_information,
)
from l2m_eval.statistics.arrays import Array, Tokens

# Most sequences of a hidden Markov model that are enumerated for its exact block entropies.
ENUMERATED = 2**20


def transition_matrix(states: int, persistence: float, seed: int) -> Array:
    """T = persistence · identity + (1 − persistence) · R, R's rows drawn uniformly from the simplex.

    Every entry of R is positive, so the chain is ergodic for any persistence below 1.
    """
    random = np.random.default_rng(seed).dirichlet(np.ones(states), size=states)
    matrix: Array = persistence * np.eye(states) + (1 - persistence) * random
    return matrix


def stationary_distribution(transitions: Array) -> Array:
    """π with π T = π and sum one, (states,)."""
    states = len(transitions)
    equations = np.vstack([transitions.T - np.eye(states), np.ones(states)])
    solution: Array = np.linalg.lstsq(equations, np.append(np.zeros(states), 1.0), rcond=None)[0]
    return np.maximum(solution, 0) / np.maximum(solution, 0).sum()


def sample_chain(
    transitions: Array, stationary: Array, documents: int, length: int, rng: np.random.Generator
) -> Tokens:
    """State sequences started in the stationary distribution, (documents, length)."""
    states = len(stationary)
    # Row i of the cumulative matrix is shifted by i, so that one search in the flat array serves all rows.
    cumulative = np.minimum(np.cumsum(transitions, axis=1), 1.0)
    cumulative[:, -1] = 1.0
    flat = (cumulative + np.arange(states)[:, None]).ravel()
    first = np.searchsorted(np.cumsum(stationary), rng.random(documents), side="right")
    chain = np.empty((length, documents), dtype=np.int64)
    current = np.minimum(first, states - 1)
    for t in range(length):
        if t > 0:
            found = np.searchsorted(flat, current + rng.random(documents), side="right")
            current = np.clip(found - states * current, 0, states - 1)
        chain[t] = current
    return np.ascontiguousarray(chain.T)


def pair_information(left: Array, right: Array, deviation: Array) -> float:
    """Mutual information, nats, of a pair with marginals (A,), (B,) and p(a, b) = left·right·(1 + deviation)."""
    return float(left @ ratio_information(np.maximum(deviation, -1)) @ right)


@dataclass(frozen=True)
class Markov(TokenProcess):
    """A stationary Markov chain over its tokens.

    Attributes:
        states: Number of states, which are the tokens.
        persistence: Share of steps that stay in the state; the two-point information falls like
            persistence^(2d), or a little slower.
        transition_seed: Of the random part of the transition matrix.
    """

    name: ClassVar[str] = "markov"
    states: int = setting(64, integer(2, 4096))
    persistence: float = setting(0.9, number(0, 1, low_included=True))
    transition_seed: int = setting(0, integer(0, 2**63 - 1))

    @property
    def vocabulary_size(self) -> int:
        return self.states

    @cached_property
    def transitions(self) -> Array:
        """p(next state | state), (states, states)."""
        return transition_matrix(self.states, self.persistence, self.transition_seed)

    @cached_property
    def stationary(self) -> Array:
        """π, (states,)."""
        return stationary_distribution(self.transitions)

    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Tokens:
        return sample_chain(self.transitions, self.stationary, documents, length, rng)

    def log_probs(self, sequences: Tokens) -> Array:
        sequences = np.asarray(sequences)
        result = np.empty(sequences.shape)
        result[:, :1] = np.log(self.stationary)[sequences[:, :1]]
        result[:, 1:] = np.log(self.transitions)[sequences[:, :-1], sequences[:, 1:]]
        return result

    def log_probs_from_last(self, sequences: Tokens, memory: int) -> Array:
        """log p(w_t | w_{t−memory} … w_{t−1}), (documents, length), nats: the last token says all."""
        return self.log_probs(sequences)

    def next_token_log_probs(self, prefix: Tokens) -> Array:
        return np.log(self.transitions[prefix[-1]] if len(prefix) else self.stationary)

    def entropy_rate(self) -> float:
        return -float(self.stationary @ xlogy(self.transitions, self.transitions).sum(axis=1))

    def mean_nll(self, length: int) -> Array:
        nll = np.full(length, self.entropy_rate())
        nll[:1] = -xlogy(self.stationary, self.stationary).sum()
        return nll

    def bipartite_mi(self, left_length: int, total_length: int) -> float:
        check_split(left_length, total_length)
        return self.two_point_mi(1)

    def two_point_mi(self, distance: int) -> float:
        check_distance(distance)
        # (T − 1π)^d = T^d − 1π, so the deviation from independence keeps its digits at any distance.
        deviation = np.linalg.matrix_power(self.transitions - self.stationary, distance)
        return pair_information(self.stationary, self.stationary, deviation / self.stationary)


@dataclass(frozen=True)
class HiddenMarkov(TokenProcess):
    """A Markov chain seen through noise: every token is the hidden state, or, with probability `noise`, any.

    Attributes:
        states: Number of hidden states, and of tokens.
        persistence: As of `Markov`, for the hidden chain.
        noise: Probability that a token is drawn uniformly instead of showing the state.
        transition_seed: Of the random part of the hidden chain's transition matrix.
    """

    name: ClassVar[str] = "hidden_markov"
    states: int = setting(4, integer(2, 1024))
    persistence: float = setting(0.9, number(0, 1, low_included=True))
    noise: float = setting(0.3, number(0, 1, low_included=True, high_included=True))
    transition_seed: int = setting(0, integer(0, 2**63 - 1))

    @property
    def vocabulary_size(self) -> int:
        return self.states

    @cached_property
    def hidden(self) -> Markov:
        """The chain behind the tokens."""
        return Markov(self.states, self.persistence, self.transition_seed)

    @cached_property
    def emissions(self) -> Array:
        """p(token | hidden state), (states, tokens)."""
        emissions: Array = (1 - self.noise) * np.eye(self.states) + self.noise / self.states
        return emissions

    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Tokens:
        states = self.hidden.sample(documents, length, rng)
        replaced = rng.random(states.shape) < self.noise
        return np.where(replaced, rng.integers(0, self.states, states.shape), states)

    def _beliefs(self, tokens: Tokens) -> Iterator[Array]:
        """p(hidden state at t | w_<t) for t = 1 … length + 1, each (documents, states)."""
        belief = np.tile(self.hidden.stationary, (len(tokens), 1))
        yield belief
        for column in np.ascontiguousarray(tokens.T):
            joint = belief * self.emissions.T[column]  # (documents, states)
            belief = (joint / joint.sum(axis=1, keepdims=True)) @ self.hidden.transitions
            yield belief

    def log_probs(self, sequences: Tokens) -> Array:
        sequences = np.asarray(sequences)
        result = np.empty(sequences.shape)
        for t, belief in enumerate(self._beliefs(sequences[:, :-1])):
            likelihoods = self.emissions.T[sequences[:, t]]  # (documents, states)
            result[:, t] = np.log(np.einsum("ds,ds->d", belief, likelihoods))
        return result

    def next_token_log_probs(self, prefix: Tokens) -> Array:
        *_, belief = self._beliefs(np.asarray(prefix, dtype=np.int64)[None])
        return np.log(belief[0] @ self.emissions)

    def mean_nll(self, length: int) -> Array:
        """Exact, from the entropies of all sequences up to `length`.

        Raises:
            L2MError: there are more than `ENUMERATED` sequences of that length.
        """
        longest = int(math.log(ENUMERATED) / math.log(self.states) + 1e-9)
        if length > longest:
            raise L2MError(
                f"total_length: {length} is not accepted; hidden_markov with {self.states} states is exact up to "
                f"{longest} tokens (all sequences are enumerated), estimate_bipartite_mi gives a Monte-Carlo mean"
            )
        return np.diff(_enumerated_entropies(self, length), prepend=0.0)

    def two_point_mi(self, distance: int) -> float:
        check_distance(distance)
        marginal = self.hidden.stationary @ self.emissions  # (tokens,)
        weighted = self.hidden.stationary[:, None] * self.emissions  # (states, tokens)
        power = np.linalg.matrix_power(self.hidden.transitions - self.hidden.stationary, distance)
        deviation = weighted.T @ power @ self.emissions
        return pair_information(marginal, marginal, deviation / np.outer(marginal, marginal))

    def entropy_rate(self) -> float:
        raise L2MError(
            "entropy_rate: a hidden Markov model has no closed form for it; mean_nll bounds it from above, "
            "sampled log_probs estimate it"
        )


@lru_cache(maxsize=16)
def _enumerated_entropies(process: HiddenMarkov, length: int) -> Array:
    """H(1) … H(length), nats, from the forward messages p(w_1…w_n, hidden state at n + 1) of all sequences."""
    messages = process.hidden.stationary[None]  # (sequences, states)
    entropies = []
    for _ in range(length):
        joint = messages[:, None, :] * process.emissions.T  # (sequences, tokens, states)
        joint = joint.reshape(-1, process.states)
        probability = joint.sum(axis=1)
        entropies.append(-xlogy(probability, probability).sum())
        messages = joint @ process.hidden.transitions
    return np.array(entropies)
