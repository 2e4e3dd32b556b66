"""Per-token log-probabilities from OpenAI-compatible completions servers: one request for each window.

The prompt is echoed with the log-probability of every token. Batches, concurrency, retries and the order of
answers are the harness' own (`TemplateAPI._loglikelihood_tokens`); only what is read from an answer differs:
all its log-probabilities rather than their sum.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError, shown
from l2m_eval.scoring.base import Advance, Scored, cache_key, sums_between_cuts
from l2m_eval.windows import Window

# A probability has no logarithm above zero; servers round.
LARGEST_LOG_PROB = 0.01


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
        import asyncio

        from aiohttp import ClientError
        from requests import RequestException

        with _failures_told_once():
            try:
                answers: list[list[Any]] = self._lm._loglikelihood_tokens(requests)
                return answers
            except L2MError as error:
                refusal = str(error)
            except (
                RequestException,
                ClientError,
                OSError,
                asyncio.TimeoutError,  # since Python 3.11 the built-in one, an OSError
                ValueError,  # what comes back is no JSON
            ) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                tried = f"after {self._lm.max_retries} attempts"
                refusal = f"base_url: no answer from {self._lm.base_url} {tried}: {reason}"
            gc.collect()
        raise L2MError(refusal)

    def _of_target(self, answer: list[Any], window: Window) -> np.ndarray:
        """Log-probabilities of the target from those of the prompt (and of what was generated behind it)."""
        start, end = len(window.context), len(window)
        if len(answer) < end:
            raise L2MError(
                f"model: the server answered a prompt of {end} tokens with {len(answer)} log-probabilities "
                f"({window.label}); it must support echo with logprobs in /v1/completions and read the whole prompt"
            )
        log_probs = answer[start:end]
        if any(value is None for value in log_probs):
            raise L2MError(
                f"model: the server left log-probabilities out of its answer ({window.label}); it must give "
                "one for every token of the prompt but the first"
            )
        for value in log_probs:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value > LARGEST_LOG_PROB:
                raise L2MError(
                    f"model: the server answered {shown(value)} for a log-probability ({window.label}); it must give "
                    "natural logarithms, at most 0"
                )
        return np.asarray(log_probs, float)


@contextmanager
def _whole_answers(lm: Any) -> Iterator[None]:
    """Let the harness hand on the log-probabilities of every answer, one list for each prompt."""

    def parse_logprobs(outputs: Any, tokens: Sequence[Any], **_kwargs: Any) -> list[list[Any]]:
        return _log_probs_of(outputs, tokens)

    lm.parse_logprobs = parse_logprobs
    try:
        yield
    finally:
        del lm.parse_logprobs


@contextmanager
def _failures_told_once() -> Iterator[None]:
    """Without what asyncio prints, each with its traceback, of the requests that failed beside the first."""

    def is_told(record: logging.LogRecord) -> bool:
        return "was never retrieved" not in record.getMessage()

    log = logging.getLogger("asyncio")
    log.addFilter(is_told)
    try:
        yield
    finally:
        log.removeFilter(is_told)


def _log_probs_of(outputs: Any, prompts: Sequence[Any]) -> list[list[Any]]:
    """The log-probabilities of each prompt in a server's answer, empty where it has none for a prompt.

    Raises:
        L2MError: the answer is an error, or says that other tokens were read than those sent.
    """
    answers: list[list[Any]] = [[] for _ in prompts]
    output = outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs
    if not isinstance(output, dict):
        return answers
    if output.get("error"):
        raise L2MError(f"model: the server answered with an error: {shown(output['error'])}")
    sent, read = sum(map(len, prompts)), _prompt_tokens(output)
    if read is not None and read != sent:
        raise L2MError(
            f"model: the server read {read} tokens of prompts where {sent} were sent; it must take token ids as they "
            "are, with no token added (such as a second BOS) and none cut off"
        )
    choices = output.get("choices")
    for place, choice in enumerate(choices if isinstance(choices, list) else []):
        if not isinstance(choice, dict):
            continue
        index = choice.get("index")  # their order in the answer may be another
        index = index if isinstance(index, int) else place
        log_probs = choice.get("logprobs")
        found = log_probs.get("token_logprobs") if isinstance(log_probs, dict) else None
        if 0 <= index < len(answers) and isinstance(found, list):
            if read is None and len(found) > len(prompts[index]) + 1:
                raise L2MError(
                    f"model: the server answered a prompt of {len(prompts[index])} tokens with {len(found)} "
                    "log-probabilities, more than one beyond it; it must not add tokens of its own"
                )
            answers[index] = found
    return answers


def _prompt_tokens(output: dict[str, Any]) -> int | None:
    """How many tokens of prompts the server says it read; None where it does not say."""
    usage = output.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count > 0 else None
