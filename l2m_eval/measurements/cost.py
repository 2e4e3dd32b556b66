"""What a measurement feeds to a model, without the model: its windows are planned as for a run, and counted.

The plan of a document depends on the settings and on the lengths that the model reads, never on what the model or its
tokenizer does with the text, so that a stand-in with one token for each character gives windows of the same lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from l2m_eval.corpus.chunks import Chunk
from l2m_eval.history_state.state import ATTENTION, COMPRESSED_LATENT, HistoryState
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.scoring.huggingface import SHARED_TOKENS
from l2m_eval.scoring.scorer import ScoringRequest
from l2m_eval.scoring.windows import Tree, Window, WindowKey, reading_order
from l2m_eval.statistics.arrays import Integers


@dataclass(frozen=True)
class Feed:
    """What one task feeds to a model.

    Attributes:
        documents: Documents measured.
        windows: Windows, equal ones counted once: requests to a backend that answers one at a time.
        tokens: Tokens read in all; the results' ``tokens_scored`` is their mean over documents.
        predicted: Of these, tokens whose log-probability is wanted.
        pairs: Pairs of tokens of which one sees the other, the arithmetic of attention.
        longest: Tokens of the longest window.
    """

    documents: int
    windows: int
    tokens: int
    predicted: int
    pairs: int
    longest: int

    @property
    def tokens_per_document(self) -> float:
        """Mean over documents."""
        return self.tokens / self.documents


def feed_of(
    requests: Sequence[ScoringRequest],
    context: int,
    *,
    shares_prefixes: bool,
    fixed_up_to: int | None = None,
    tokenizer: Any = None,
) -> Feed:
    """Plan and count the windows of a task.

    Args:
        requests: One for each document, as the task makes them.
        context: Tokens that the model reads at once.
        shares_prefixes: Whether it goes on from the state of a prefix that another window has read.
        fixed_up_to: Tokens up to which its positions do not depend on the length of what is read; None where they
            never do.
        tokenizer: With an `encode`; a stand-in with one token for each character unless given.

    Raises:
        L2MError: lengths that were asked for do not fit the context.
    """
    encoder = _Planner(_StandIn(context, fixed_up_to, tokenizer or _NewTokens()))
    unique: dict[WindowKey, Window] = {}
    for request in requests:
        for window in request.plan(encoder).windows:
            unique.setdefault(window.key, window)
    windows = sorted(unique.values(), key=lambda window: -len(window))
    trees = reading_order(windows, fixed_up_to, SHARED_TOKENS, lambda: shares_prefixes)
    return Feed(
        documents=len(requests),
        windows=len(windows),
        tokens=sum(tree.tokens for tree in trees),
        predicted=sum(len(window.target) for window in windows),
        pairs=sum(map(_pairs, trees)),
        longest=max(map(len, windows), default=0),
    )


def goes_on_from_prefixes(state: HistoryState) -> bool:
    """Whether every layer keeps all tokens, so that the state of a prefix is a part of the state of the whole."""
    return bool(state.layers) and all(
        layer.kind in (ATTENTION, COMPRESSED_LATENT) and layer.largest is None for layer in state.layers
    )


def _pairs(tree: Tree) -> int:
    """Pairs of a token and one that it sees, itself included; the last token of a window is not read."""
    read = len(tree.trunk) - 1
    pairs = read * (read + 1) // 2
    for branch in tree.branches:
        new, known = len(branch.target), len(branch.context) - 1
        pairs += new * known + new * (new + 1) // 2
    return pairs


class _Planner(Encoder):
    """The encoder of a model that is not there, for which every token has one byte."""

    def byte_ends(self, chunk: Chunk, count: int) -> Integers:
        return np.arange(1, count + 1)


class _NewTokens:
    """One token for each character, none of which has been there before: no two windows are equal by chance."""

    def __init__(self) -> None:
        self._given = 0

    def encode(self, text: str) -> range:
        first = self._given
        self._given += len(text)
        return range(first, self._given)


class _StandIn:
    """As much of a harness LM as planning asks for."""

    prefix_token_id = 0
    rank = 1  # the n-gram entropy of the corpus is counted by the first process alone

    def __init__(self, context: int, fixed_up_to: int | None, tokenizer: Any) -> None:
        # The stand-in is no HFLM, of which the last target token is not fed: its room is one token less.
        self.max_length = context + 1
        self.tokenizer = tokenizer
        self._l2m_fixed_up_to = fixed_up_to

    def tok_encode(self, text: str, add_special_tokens: bool = False) -> Sequence[int]:
        found: Sequence[int] = self.tokenizer.encode(text)
        return found
