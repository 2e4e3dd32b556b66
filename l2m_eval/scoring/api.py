"""Per-token log-probabilities from OpenAI-compatible completions servers: one request for each window.

The prompt is echoed with the log-probability of every token. Batches, concurrency, retries and the order of
answers are the harness' own (`TemplateAPI._loglikelihood_tokens`); only what is read from an answer differs:
all its log-probabilities rather than their sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.scoring.base import Advance, Scored, cache_key, sums_between_cuts
from l2m_eval.windows import Window


class CompletionsScorer:
    """Scores windows with the harness' ``local-completions`` and ``openai-completions`` backends."""

    def __init__(self, lm: Any):
        self._lm = lm

    @staticmethod
    def serves(lm: Any) -> bool:
        """Whether `lm` speaks the completions protocol as the harness' own backend reads it."""
        from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI

        return (
            isinstance(lm, LocalCompletionsAPI)
            and not isinstance(lm, LocalChatCompletion)
            and type(lm).parse_logprobs is LocalCompletionsAPI.parse_logprobs
        )

    def __call__(self, windows: Sequence[Window], advance: Advance) -> list[Scored]:
        requests = []
        for window in windows:
            context, target = window.context.tolist(), window.target.tolist()
            requests.append((cache_key(context, target), context, target))
        with _whole_answers(self._lm):
            answers = self._ask(requests)
        scored = []
        for window, answer in zip(windows, answers, strict=True):
            log_probs = self._of_target(answer, window)
            scored.append(Scored(sums_between_cuts(log_probs, window.cuts), len(window)))
            advance(len(window))
        return scored

    def _ask(self, requests: list[tuple[tuple[str, str], list[int], list[int]]]) -> list[list[Any]]:
        from aiohttp import ClientError
        from requests import RequestException

        try:
            answers: list[list[Any]] = self._lm._loglikelihood_tokens(requests)
        except (RequestException, ClientError, TimeoutError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise L2MError(
                f"base_url: no answer from {self._lm.base_url} after {self._lm.max_retries} attempts: {reason}"
            ) from error
        return answers

    def _of_target(self, answer: list[Any], window: Window) -> np.ndarray:
        """Log-probabilities of the target from those of the prompt (and of what was generated behind it)."""
        start, end = len(window.context), len(window)
        if len(answer) < end:
            raise L2MError(
                f"model: the server answered a prompt of {end} tokens with {len(answer)} log-probabilities "
                f"({window.label}); it must support echo with logprobs in /v1/completions and read the whole prompt"
            )
        if any(value is None for value in answer[start:end]):
            raise L2MError(
                f"model: the server left log-probabilities out of its answer ({window.label}); it must give "
                "one for every token of the prompt but the first"
            )
        return np.asarray(answer[start:end], float)


@contextmanager
def _whole_answers(lm: Any) -> Iterator[None]:
    """Let the harness hand on the log-probabilities of every answer, one list for each prompt."""

    def parse_logprobs(outputs: Any, tokens: Sequence[Any], **_kwargs: Any) -> list[list[Any]]:
        answers: list[list[Any]] = []
        for output in outputs if isinstance(outputs, list) else [outputs]:
            for choice in sorted((output or {}).get("choices") or [], key=itemgetter("index")):
                answers.append((choice.get("logprobs") or {}).get("token_logprobs") or [])
        return answers + [[]] * (len(tokens) - len(answers))

    lm.parse_logprobs = parse_logprobs
    try:
        yield
    finally:
        del lm.parse_logprobs
