"""Per-token log-probabilities from OpenAI-compatible completions servers: one request for each window.

The prompt is echoed with the log-probability of every token. Batches, concurrency, retries and the order of
answers are the harness' own (`TemplateAPI._loglikelihood_tokens`); only what is read from an answer differs:
all its log-probabilities rather than their sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError, shown
from l2m_eval.scoring.plausible import log_probs_of_tokens
from l2m_eval.scoring.scorer import Advance, InGroups, Scored, cache_key, sums_between_cuts
from l2m_eval.scoring.server import ask_server
from l2m_eval.scoring.windows import Window


class CompletionsScorer(InGroups):
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

    def score(self, windows: Sequence[Window], advance: Advance) -> list[Scored]:
        requests = []
        for window in windows:
            context, target = window.context.tolist(), window.target.tolist()
            requests.append((cache_key(context, target), context, target))
        with _checked_answers(self._lm, windows):
            answers = ask_server(self._lm, lambda: self._lm._loglikelihood_tokens(requests))
        scored = []
        for window, answer in zip(windows, answers, strict=True):
            log_probs = log_probs_of_tokens(answer[len(window.context) : len(window)], window.label)
            scored.append(Scored(sums_between_cuts(log_probs, window.cuts), len(window)))
            advance(len(window))
        return scored


@contextmanager
def _checked_answers(lm: Any, windows: Sequence[Window]) -> Iterator[None]:
    """Let the harness hand on the log-probabilities of every answer, a list for each prompt, checked as it comes."""
    asked = {tuple(np.concatenate([window.context, window.target]).tolist()): window for window in windows}

    def parse_logprobs(outputs: Any, tokens: Sequence[Any], **_kwargs: Any) -> list[list[Any]]:
        answers = _log_probs_of(outputs, tokens)
        for prompt, answer in zip(tokens, answers, strict=True):
            window = asked[tuple(prompt)]
            if len(answer) < len(window):
                raise L2MError(
                    f"model: the server answered a prompt of {len(window)} tokens with {len(answer)} "
                    f"log-probabilities ({window.label}); it must support echo with logprobs in /v1/completions and "
                    "read the whole prompt"
                )
            log_probs_of_tokens(answer[len(window.context) : len(window)], window.label)
        return answers

    lm.parse_logprobs = parse_logprobs
    try:
        yield
    finally:
        del lm.parse_logprobs


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
    sent, read = sum(map(len, prompts)), _count(output, "prompt_tokens")
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
            generated = _count(output, "completion_tokens")
            if len(found) == len(prompts[index]) and generated and found and found[0] is not None:
                raise L2MError(
                    f"model: the server answered a prompt of {len(prompts[index])} tokens with {len(found)} "
                    f"log-probabilities, of which its usage says that {generated} or more are of generated tokens; "
                    "it must give one for every token of the prompt, null for the first"
                )
            answers[index] = found
    return answers


def _count(output: dict[str, Any], name: str) -> int | None:
    """How many tokens the server says it read or generated; None where it does not say."""
    usage = output.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count > 0 else None
