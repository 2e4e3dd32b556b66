"""Scorers that use only one method of the LM: sums of pieces, or log-probabilities of all tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError, shown
from l2m_eval.scoring.rotary import fixed_up_to
from l2m_eval.scoring.scorer import Advance, InGroups, Scored, cache_key, sums_between_cuts
from l2m_eval.scoring.server import ask_server
from l2m_eval.scoring.windows import Window


class PortableScorer(InGroups):
    """Any backend with the harness' `_loglikelihood_tokens`: one request for each piece of a window."""

    most_pieces: int | None = 256  # bins and splits, never single tokens

    def __init__(self, lm: Any):
        self._lm = lm

    @staticmethod
    def serves(lm: Any) -> bool:
        """Whether `lm` scores token ids as the harness' own backends do."""
        return hasattr(lm, "_loglikelihood_tokens")

    def score(self, windows: Sequence[Window], advance: Advance) -> list[Scored]:
        limit = fixed_up_to(self._lm)
        requests = []
        for window in windows:
            if limit is not None and len(window) - 1 > limit:
                raise L2MError(
                    f"model: its rotary frequencies follow the length of the input beyond {limit} tokens, so that "
                    f"the {len(window)} tokens of {window.label} must be read at once, and {type(self._lm).__name__} "
                    "reads piece by piece; give shorter lengths, or use the hf backend without a trained prompt"
                )
            ids = np.concatenate([window.context, window.target]).tolist()
            start = len(window.context)
            for low, high in zip((0, *window.cuts), window.cuts, strict=False):
                context, piece = ids[: start + low], ids[start + low : start + high]
                requests.append((cache_key(context, piece), context, piece))
        try:
            answers = [
                math.nan if answer is None or answer[0] is None else float(answer[0])
                for answer in self._ask(requests)
            ]
        except NotImplementedError as error:
            raise L2MError(
                f"model: {type(self._lm).__name__} has no token-level log-likelihoods ({error}); "
                "use hf, vllm or local-completions"
            ) from error
        if len(answers) != len(requests):
            raise L2MError(
                f"model: {type(self._lm).__name__} answered {len(answers)} of {len(requests)} scoring requests"
            )
        scored = []
        position = 0
        for window in windows:
            pieces = slice(position, position + len(window.cuts))
            fed = sum(len(context) + len(piece) for _, context, piece in requests[pieces])
            scored.append(Scored(np.asarray(answers[pieces], float), fed))
            position += len(window.cuts)
            advance(len(window))
        return scored

    def _ask(self, requests: list[Any]) -> list[Any]:
        def call() -> list[Any]:
            return list(self._lm._loglikelihood_tokens(requests))

        return ask_server(self._lm, call) if hasattr(self._lm, "base_url") else call()


class PerTokenScorer(InGroups):
    """An LM that offers `token_log_probs(sequences)`: log p(w_t | w_<t) of sequences without their prefix."""

    sequences_at_once = 64

    def __init__(self, lm: Any):
        self._lm = lm

    @property
    def asks_first(self) -> bool:
        """False for a process that is its own model: it is exact, and need not know every text."""
        return not getattr(self._lm, "is_exact", False)

    @staticmethod
    def serves(lm: Any) -> bool:
        """Whether `lm` has the method."""
        return hasattr(lm, "token_log_probs")

    def score(self, windows: Sequence[Window], advance: Advance) -> list[Scored]:
        scored = []
        for start in range(0, len(windows), self.sequences_at_once):
            batch = windows[start : start + self.sequences_at_once]
            sequences = [np.concatenate([window.context[1:], window.target]) for window in batch]
            answers = [np.asarray(answer) for answer in self._lm.token_log_probs(sequences)]
            shapes = [answer.shape for answer in answers]
            if shapes != [(len(sequence),) for sequence in sequences]:
                raise L2MError(
                    f"model: {type(self._lm).__name__}.token_log_probs answered {shown(shapes)} for sequences of "
                    f"{shown([len(sequence) for sequence in sequences])} tokens; it must give one number for each"
                )
            for window, log_probs in zip(batch, answers, strict=True):
                sums = sums_between_cuts(log_probs[len(window.context) - 1 :], window.cuts)
                scored.append(Scored(sums, len(window)))
                advance(len(window))
        return scored
