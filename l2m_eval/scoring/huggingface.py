"""Per-token log-probabilities of Hugging Face models, without ever holding the full logits.

The body (everything below the head) runs once over a batch; the model's own forward is then called on chunks
of positions with its body replaced by the stored hidden states, so that soft-capping, logit scaling and
whatever else a head does stay the model's own. Once per model the result is compared with the plain forward;
where they differ, or the model has no separable body, the plain forward is used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from l2m_eval.scoring.base import Advance, Sums, sums_between_cuts
from l2m_eval.windows import Window

logger = logging.getLogger(__name__)

# Float32 logits held at a time.
LOGITS_BYTES = 256 * 2**20
# Tokens of a batch with --batch_size auto where memory does not say otherwise: beyond it a CPU gains nothing.
AUTO_TOKENS = {"cpu": 16_384}
# Padding allowed in a batch, as a share of its tokens; small batches are exempt, their overhead costs more.
PADDING = 0.05


class HuggingFaceScorer:
    """Scores windows with a causal model of the harness' ``hf`` backend."""

    def __init__(self, lm: Any):
        self._lm = lm
        self._model = _causal_model(lm)
        self._chunked = self._head_can_be_chunked()

    @staticmethod
    def serves(lm: Any) -> bool:
        """Whether `lm` is the harness' HFLM with a causal model."""
        from lm_eval.models.huggingface import HFLM

        return isinstance(lm, HFLM) and lm.backend == "causal"

    def __call__(self, windows: Sequence[Window], advance: Advance) -> list[Sums]:
        """Sums between cuts of windows sorted longest first."""
        results: list[Sums] = []
        budget = self._token_budget(windows)
        growing = self._lm.batch_size == "auto" and self._lm.device.type != "cpu"
        while len(results) < len(windows):
            batch = next_batch(windows[len(results) :], budget)
            try:
                scored = self._score(batch)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error) or len(batch) == 1:
                    raise
                budget, growing = max(budget // 2, len(batch[0])), False
                _release_memory()
                logger.warning("l2m-eval: out of memory, batches of at most %d tokens from here on", budget)
                continue
            results.extend(scored)
            advance(sum(map(len, batch)))
            if growing:
                budget *= 2
        return results

    def _token_budget(self, windows: Sequence[Window]) -> int:
        longest = max(map(len, windows), default=1)
        if self._lm.batch_size == "auto":
            return max(longest, AUTO_TOKENS.get(self._lm.device.type, longest))
        return longest * int(self._lm.batch_size)

    @torch.no_grad()
    def _score(self, batch: Sequence[Window]) -> list[Sums]:
        width = len(batch[0]) - 1  # the last target token is predicted, not read
        ids = torch.zeros((len(batch), width), dtype=torch.long)  # (B, T), padded on the right
        rows, positions, targets = [], [], []
        for row, window in enumerate(batch):
            read = torch.from_numpy(np.concatenate([window.context, window.target[:-1]]))
            ids[row, : len(read)] = read
            rows.append(torch.full((len(window.target),), row))
            positions.append(torch.arange(len(window.context) - 1, len(read)))
            targets.append(torch.from_numpy(window.target))
        log_probs = self._token_log_probs(ids, torch.cat(rows), torch.cat(positions), torch.cat(targets))
        sums, start = [], 0
        for window in batch:
            sums.append(sums_between_cuts(log_probs[start : start + len(window.target)], window.cuts))
            start += len(window.target)
        return sums

    def _token_log_probs(
        self, ids: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor
    ) -> np.ndarray:
        """log q(target | ids up to position) for P places in a batch (B, T): shape (P,), float32."""
        ids = ids.to(self._lm.device)
        if not self._chunked:
            logits = self._lm._model_call(ids)  # (B, T, V)
            place = (rows.to(logits.device), positions.to(logits.device))
            return _gathered(logits[place], targets).cpu().numpy()
        with self._autocast():
            output = _body(self._model)(input_ids=ids, use_cache=False)
        hidden = output.last_hidden_state  # (B, T, H)
        selected = hidden[rows.to(hidden.device), positions.to(hidden.device)]  # (P, H)
        kind = type(output)
        del hidden, output
        vocabulary = _vocabulary_size(self._model)
        step = max(1, LOGITS_BYTES // (4 * vocabulary))
        pieces = []
        with self._autocast(), _head_alone(self._model, kind) as head:
            for low in range(0, len(selected), step):
                logits = head(selected[None, low : low + step])[0]  # (p, V)
                pieces.append(_gathered(logits, targets[low : low + step]))
        return torch.cat(pieces).cpu().numpy()

    def _autocast(self) -> Any:
        dtype = getattr(self._lm, "mixed_precision_dtype", None)
        return torch.autocast(device_type=self._lm.device.type, dtype=dtype, enabled=dtype is not None)

    def _head_can_be_chunked(self) -> bool:
        """Compare the chunked head with the plain forward on a few tokens."""
        vocabulary = _vocabulary_size(self._model)
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, vocabulary, (2, 9), generator=generator)
        rows = torch.arange(2).repeat_interleave(8)
        positions = torch.arange(8).repeat(2)
        targets = ids[:, 1:].reshape(-1)
        with torch.no_grad():
            self._chunked = False
            plain = self._token_log_probs(ids[:, :-1], rows, positions, targets)
            try:
                self._chunked = True
                chunked = self._token_log_probs(ids[:, :-1], rows, positions, targets)
            except Exception as error:  # whatever a model without a separable body does
                reason = f"{type(error).__name__}: {error}".split("\n")[0]
            else:
                # Equal arithmetic in another order: float32 agrees to 1e-5, half precision to its own rounding.
                half = next(self._model.parameters()).dtype in (torch.float16, torch.bfloat16)
                tolerance = 0.05 if half or self._lm.mixed_precision_dtype else 1e-4
                difference = float(np.max(np.abs(chunked - plain), initial=0.0))
                if difference <= tolerance or not np.isfinite(plain).all():
                    return True
                reason = f"log-probabilities differ by {difference:.2g}"
        logger.warning(
            "l2m-eval: %s: the head cannot be run apart from the body (%s); whole logits are held in memory",
            type(self._model).__name__,
            reason,
        )
        return False


def next_batch(windows: Sequence[Window], budget: int) -> Sequence[Window]:
    """The longest run of windows (sorted longest first) within the token budget and little padding."""
    width = len(windows[0])
    tokens = count = 0
    for window in windows:
        padded = (count + 1) * width
        wasteful = tokens + len(window) < (1 - PADDING) * padded
        if count and (padded > budget or (wasteful and padded > budget // 8)):
            break
        tokens += len(window)
        count += 1
    return windows[:count]


def _gathered(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log-softmax at the targets, in float32 whatever the logits' precision: (P, V), (P,) -> (P,)."""
    logits = logits.float()
    chosen = logits.gather(1, targets.to(logits.device)[:, None])[:, 0]
    return chosen - logits.logsumexp(dim=1)


def _causal_model(lm: Any) -> Any:
    model = lm.model
    # Adapters of PEFT sit inside the layers, so the model below its wrapper already has them.
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _body(model: Any) -> Any:
    body = getattr(model, model.base_model_prefix, None)
    if body is None or body is model:
        raise TypeError("no body module")
    return body


def _vocabulary_size(model: Any) -> int:
    return int(model.get_input_embeddings().num_embeddings)


class _StoredBody(torch.nn.Module):
    """Stands where the body was and returns hidden states computed before, in the body's own kind of output."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self._kind = kind
        self.hidden: torch.Tensor | None = None

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        return self._kind(last_hidden_state=self.hidden)


@contextmanager
def _head_alone(model: Any, kind: Any) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """The model's own forward as a function of hidden states, (1, p, H) -> (1, p, V); the body is put back after."""
    name, body = model.base_model_prefix, _body(model)
    stored = _StoredBody(kind)

    def head(hidden: torch.Tensor) -> torch.Tensor:
        stored.hidden = hidden
        ids = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
        return logits

    model._modules[name] = stored
    try:
        yield head
    finally:
        model._modules[name] = body


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def _release_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
