"""The best prediction of a process by someone who remembers the last tokens only: a planted effective context.

A predictor with memory w gives q(w_t | w_<t) = p(w_t | w_{t−w} … w_{t−1}). The process is stationary, so its loss at
position t is the process' own at position min(t, w + 1), and its bipartite information, the mean of
log q(y | x) − log q(y) over the process' documents, is

    I(l; L) = Σ_{t=1}^{L−l} [nll_min(t, w+1) − nll_min(l+t, w+1)],

which grows as the process' own does up to blocks of w tokens (L = 2w at ratio 2) and no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from l2m_eval.errors import L2MError, shown
from l2m_eval.fields import integer
from l2m_eval.processes.base import TokenProcess
from l2m_eval.statistics.arrays import Array, Tokens


@runtime_checkable
class Forgettable(Protocol):
    """A process whose best prediction from the last tokens alone is a formula."""

    def log_probs_from_last(self, sequences: Tokens, memory: int) -> Array:
        """log p(w_t | w_{t−memory} … w_{t−1}) of every position, (documents, length), nats."""


@dataclass(frozen=True)
class LimitedMemory(TokenProcess):
    """A predictor of `process` that remembers the last `memory` tokens. Documents are the process' own.

    Raises:
        L2MError: a memory below one token, or a process without a formula for such a prediction.
    """

    name: ClassVar[str] = "limited_memory"
    process: TokenProcess
    memory: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", integer(1)("memory", self.memory))
        if not isinstance(self.process, Forgettable):
            from l2m_eval.processes import PROCESSES

            accepted = [name for name, kind in PROCESSES.items() if hasattr(kind, "log_probs_from_last")]
            raise L2MError(
                f"memory: {shown(self.memory)} is not accepted for process {self.process.name}, which has no formula "
                f"for the best prediction from its last tokens; processes that have one: {', '.join(accepted)}"
            )

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.process.settings, "memory": self.memory}

    @property
    def vocabulary_size(self) -> int:
        return self.process.vocabulary_size

    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Tokens:
        return self.process.sample(documents, length, rng)

    def log_probs(self, sequences: Tokens) -> Array:
        assert isinstance(self.process, Forgettable)
        return self.process.log_probs_from_last(np.asarray(sequences), self.memory)

    def next_token_log_probs(self, prefix: Tokens) -> Array:
        return self.process.next_token_log_probs(np.asarray(prefix)[-self.memory :])

    def mean_nll(self, length: int) -> Array:
        """Exact mean loss of the predictor at positions 1 … length, (length,), nats."""
        nll = self.process.mean_nll(min(length, self.memory + 1))
        return np.concatenate([nll, np.full(length - len(nll), nll[-1])])

    def two_point_mi(self, distance: int) -> float:
        """The two-point information of the text, which is that of the process itself."""
        return self.process.two_point_mi(distance)

    def entropy_rate(self) -> float:
        """The predictor's loss per token in the long run."""
        return float(self.process.mean_nll(self.memory + 1)[-1])

    def remarks(self, splits: Any) -> tuple[str, ...]:
        return self.process.remarks(
            [(min(left, self.memory), min(left, self.memory) + total - left) for left, total in splits]
        )
