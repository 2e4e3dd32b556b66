"""The Santa Fe process told in questions and answers: the same law, in a form that asks the memory for one fact.

Every step of `santa_fe` becomes two tokens. The first names the fact, the second states it: name k is the token
k − 1, the statement (k, bit) the token K + 2(k − 1) + bit. So the process has 3K tokens, of which the answers are
`santa_fe`'s own behind the K names.

*Why.* `santa_fe` draws fact and bit in one token, so that a model must have the bits of all facts ready in its
output at every position: how many it can say at once is limited by its width, whatever it remembers. Here the
question comes first, and one fact has to be found in what was read. That is what a model's history state is for.

*Likelihood.* The name carries no information on the past: log p = log p_k. The answer has log((1 ± ρ_k^τ)/2) of
`santa_fe`, τ in steps. Documents and blocks start with a question, which the marginal of a block does, too, if the
block starts at an odd position; so splits are even.

*Bipartite information.* That of `santa_fe` at half the lengths, I(l; L) = I_santa_fe(l/2; L/2): the exponent β stays,
the amplitude is smaller by 2^β.

*Two-point information*, of pairs counted over all positions: a token shows whether it is a name or an answer, and
so what stands at a distance from it, ln 2 nats. At d = 1 a name tells its own answer's fact besides, H(p) in half of
the pairs; at even d half of the pairs are two answers and share what tokens of `santa_fe` do at d/2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.fields import integer, number, setting
from l2m_eval.processes.base import (
    TokenProcess,
    check_distance,
    check_split,
    remark_on_saturation,
)
from l2m_eval.processes.santa_fe import SantaFe
from l2m_eval.statistics.arrays import Array, Tokens


@dataclass(frozen=True)
class SantaFeRecall(TokenProcess):
    """Questions and answers about facts; see the module for its formulas.

    Attributes:
        beta, facts, flip_rate: As of `SantaFe`; the vocabulary has 3 · facts tokens.
    """

    name: ClassVar[str] = "santa_fe_recall"
    beta: float = setting(0.75, number(0, 1))
    facts: int = setting(64, integer(1, 2**24 // 3))
    flip_rate: float = setting(0.02, number(0, 0.5, low_included=True, high_included=True))

    @cached_property
    def told(self) -> SantaFe:
        """The process behind it, one token a step."""
        return SantaFe(beta=self.beta, facts=self.facts, flip_rate=self.flip_rate)

    @property
    def vocabulary_size(self) -> int:
        return 3 * self.facts

    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Tokens:
        steps = self.told.sample(documents, (length + 1) // 2, rng)
        tokens = np.empty((documents, 2 * steps.shape[1]), dtype=np.int64)
        tokens[:, ::2] = steps >> 1
        tokens[:, 1::2] = self.facts + steps
        return tokens[:, :length]

    def log_probs(self, sequences: Tokens) -> Array:
        """As in the base class. Minus infinity for what cannot be: an answer to another question, or out of turn."""
        sequences = np.asarray(sequences, dtype=np.int64)
        names, answers = sequences[:, ::2], sequences[:, 1::2] - self.facts
        log_p = self.told._log_p
        result = np.empty(sequences.shape)
        is_name = names < self.facts
        result[:, ::2] = np.where(is_name, log_p[np.where(is_name, names, 0)], -np.inf)
        fitting = (answers >> 1) == names[:, : answers.shape[1]]
        steps = np.where(fitting, answers, 0)
        stated = self.told.log_probs(steps) - log_p[steps >> 1]
        # After an answer that cannot be nothing is defined; the rest is scored as if fact 1 had been stated.
        result[:, 1::2] = np.where(fitting, stated, -np.inf)
        return result

    def next_token_log_probs(self, prefix: Tokens) -> Array:
        prefix = np.asarray(prefix, dtype=np.int64)
        result = np.full(self.vocabulary_size, -np.inf)
        if len(prefix) % 2 == 0:
            result[: self.facts] = self.told._log_p
            return result
        fact = int(prefix[-1])
        following = self.told.next_token_log_probs(prefix[1::2] - self.facts)[2 * fact : 2 * fact + 2]
        result[self.facts + 2 * fact : self.facts + 2 * fact + 2] = following - self.told._log_p[fact]
        return result

    def bipartite_mi(self, left_length: int, total_length: int) -> float:
        check_split(left_length, total_length)
        for name, value in (("left_length", left_length), ("total_length", total_length)):
            if value % 2:
                raise L2MError(
                    f"{name}: {value} is not accepted; {self.name} asks and answers in turn, so give an even number"
                )
        return self.told.bipartite_mi(left_length // 2, total_length // 2)

    def block_step(self, length: int) -> int:
        return 2  # a block begins with a question

    def remarks(self, splits: Sequence[tuple[int, int]]) -> tuple[str, ...]:
        odd = sorted({total for left, total in splits if left % 2 or total % 2})
        uneven = (
            f"{self.name}: questions and answers take turns, so that blocks are exact at even splits alone; no exact "
            f"value at L = {', '.join(map(str, odd))}",
        )
        return (uneven if odd else ()) + remark_on_saturation(
            self.name, self.facts, self.law_holds_to(), splits
        )

    def mean_nll(self, length: int) -> Array:
        asked = self.told._first_nll - math.log(2)  # H(p)
        nll = np.full(length, asked)
        nll[1::2] = self.told.mean_nll((length + 1) // 2)[: length // 2] - asked
        return nll

    def two_point_mi(self, distance: int) -> float:
        """Exact I of pairs counted over all positions of long documents, nats; see the module."""
        check_distance(distance)
        asked = self.told._first_nll - math.log(2)
        if distance == 1:
            return math.log(2) + asked / 2
        if distance % 2:  # a name and an answer of different steps
            return math.log(2)
        return math.log(2) + self.told.two_point_mi(distance // 2) / 2

    def entropy_rate(self) -> float:
        return self.told.entropy_rate() / 2

    def law_holds_to(self, tolerance: float = 0.05) -> int:
        """Longest l at which the law does not yet feel that the number of facts is finite; as of `SantaFe`."""
        return 2 * self.told.law_holds_to(tolerance)
