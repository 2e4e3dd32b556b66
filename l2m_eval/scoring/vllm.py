"""Per-token log-probabilities from vLLM: each window is one prompt, answered with its prompt log-probabilities.

vLLM does not read its prefix cache for requests that want prompt log-probabilities (the cached tokens would
have none), so every window is fed whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.scoring.plausible import log_probs_of_tokens
from l2m_eval.scoring.scorer import Advance, InGroups, Scored, sums_between_cuts
from l2m_eval.scoring.windows import Window

# Tokens handed over at once: enough for the engine to keep its batches full. Each comes back as a dict.
TOKENS_AT_ONCE = 2**18


class VLLMScorer(InGroups):
    """Scores windows with the harness' ``vllm`` backend."""

    def __init__(self, lm: Any):
        self._lm = lm

    @staticmethod
    def serves(lm: Any) -> bool:
        """Whether `lm` is the harness' VLLM, or made as it is."""
        return any(kind.__name__ == "VLLM" for kind in type(lm).__mro__) and hasattr(lm, "_model_generate")

    @property
    def asks_first(self) -> bool:
        """False with several engines, which every call starts anew."""
        return bool(self._lm.data_parallel_size <= 1)

    def score(self, windows: Sequence[Window], advance: Advance) -> list[Scored]:
        scored: list[Scored] = []
        while len(scored) < len(windows):
            batch = self._next_batch(windows[len(scored) :])
            prompts = [np.concatenate([window.context, window.target]).tolist() for window in batch]
            outputs = self._lm._model_generate(requests=prompts, generate=False)
            for window, prompt, output in zip(batch, prompts, outputs, strict=True):
                log_probs = _of_target(output.prompt_logprobs, prompt, window)
                scored.append(Scored(sums_between_cuts(log_probs, window.cuts), len(window)))
                advance(len(window))
        return scored

    def _next_batch(self, windows: Sequence[Window]) -> Sequence[Window]:
        if not self.asks_first:
            return windows
        ends = np.cumsum([len(window) for window in windows])
        return windows[: max(1, int(np.searchsorted(ends, TOKENS_AT_ONCE, side="right")))]


def _of_target(prompt_log_probs: Any, prompt: Sequence[int], window: Window) -> np.ndarray:
    """Log-probabilities of the target out of vLLM's list, which has one dict of candidates for each token."""
    found = 0 if prompt_log_probs is None else len(prompt_log_probs)
    if found != len(prompt):
        raise L2MError(
            f"model: vLLM answered a prompt of {len(prompt)} tokens with {found} log-probabilities ({window.label})"
        )
    values = []
    for position in range(len(window.context), len(prompt)):
        candidate = (prompt_log_probs[position] or {}).get(prompt[position])
        if candidate is None:
            raise L2MError(
                f"model: vLLM gave no log-probability for token {position} of its prompt ({window.label})"
            )
        values.append(getattr(candidate, "logprob", candidate))  # a bare float in old versions
    return log_probs_of_tokens(values, window.label)
