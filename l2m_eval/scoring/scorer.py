"""What a scorer is: windows in, sums of log-probabilities out. The types that all of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l2m_eval.scoring.windows import Window
from l2m_eval.statistics.arrays import Array

if TYPE_CHECKING:
    from l2m_eval.scoring.encoder import Encoder
    from l2m_eval.scoring.finished import FinishedWindows

Sums = Array  # of log-probabilities, between the cuts of one window
Advance = Callable[[int], Any]

# By how much the log-probability of a token may differ between two batches where the model's numbers are not known,
# nats: four roundings in bfloat16, 2^-8 each, of a logit of 32 (`HuggingFaceScorer.rounding`).
ROUNDING_OF_UNKNOWN = 0.5
# Windows between two writes of a run that can be continued, for scorers without batches of their own.
KEPT_AT_ONCE = 64


class Plan(Protocol):
    """The windows to score for a document, and how their scores become its result."""

    @property
    def windows(self) -> list[Window]: ...

    def record(self, scores: list[Sums]) -> str:
        """The document's result, as JSON, from the sums of its windows in their order."""


class ScoringRequest(Protocol):
    """A task's request to a model for one document."""

    def plan(self, encoder: Encoder) -> Plan:
        """The windows to score, under the model's tokenizer."""


@dataclass(frozen=True)
class Scored:
    """A window's answer.

    Attributes:
        sums: Log-probabilities of the pieces between its cuts, in nats.
        tokens: How many tokens were fed to the model for them.
    """

    sums: Sums
    tokens: int


class Scorer(Protocol):
    """Scores windows, given longest first.

    Attributes:
        most_pieces: Pieces of a window that it can score; None where every token may be a piece of its own.
        rounding: By how much the log-probability of a token may differ between batches, nats.
        asks_first: Whether a few short texts are to be asked for, and their answers checked, before all others.
        changes_states: Whether it scores windows behind a smaller state.
    """

    most_pieces: int | None
    changes_states: bool

    @property
    def rounding(self) -> float: ...

    @property
    def asks_first(self) -> bool: ...

    @staticmethod
    def serves(lm: Any) -> bool:
        """Whether it can score with this LM of the harness."""

    def __call__(
        self, windows: Sequence[Window], advance: Advance, finished: FinishedWindows | None = None
    ) -> list[Scored]:
        """The scores of the windows, in their order.

        Args:
            windows: Longest first.
            advance: Is told how many of their tokens are done.
            finished: Scores of an earlier run, which are taken instead of scoring again; new ones are put there.
        """


class InGroups:
    """A scorer that has no batches of its own: with a file of finished windows, it keeps a few dozen at a time."""

    most_pieces: int | None = None
    rounding: float = ROUNDING_OF_UNKNOWN
    changes_states: bool = False

    @property
    def asks_first(self) -> bool:
        return True

    def __call__(
        self, windows: Sequence[Window], advance: Advance, finished: FinishedWindows | None = None
    ) -> list[Scored]:
        if finished is None:
            return self.score(windows, advance)
        scored: list[Scored] = []
        for start in range(0, len(windows), KEPT_AT_ONCE):
            group = windows[start : start + KEPT_AT_ONCE]
            kept = finished.get(group)
            if kept is None:
                kept = self.score(group, advance)
                finished.put(list(zip(group, kept, strict=True)))
            else:
                advance(sum(map(len, group)))
            scored += kept
        return scored

    def score(self, windows: Sequence[Window], advance: Advance) -> list[Scored]:
        """The scores of the windows, none of which is known yet."""
        raise NotImplementedError


def cache_key(context: Sequence[int], target: Sequence[int]) -> tuple[str, str]:
    """The key of an answer in the harness' response cache: it must differ between windows."""
    digest = hashlib.sha256(np.asarray([*context, -1, *target]).tobytes()).hexdigest()
    return f"l2m-eval {digest}", ""


def sums_between_cuts(log_probs: NDArray[Any], cuts: Sequence[int]) -> Sums:
    """Sums of per-token log-probabilities of the pieces between cuts, in float64."""
    return np.add.reduceat(log_probs.astype(np.float64), [0, *cuts[:-1]])[: len(cuts)]
