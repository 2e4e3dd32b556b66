"""Per-token log-probabilities of Hugging Face models: never the full logits; shared prefixes are computed once.

The body (everything below the head) runs once over a batch; the model's own forward is then called on chunks
of positions with its body replaced by the stored hidden states, so that soft-capping, logit scaling and
whatever else a head does stay the model's own. Windows that share a prefix with another window are read after a
copy of its attention cache. Both are compared with the plain forward pass once per model; where they differ, or
the model does not allow them, the plain forward pass is used.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from l2m_eval.errors import L2MError, cause
from l2m_eval.scoring.body_and_head import (
    body_of,
    causal_model,
    check_shape,
    head_alone,
    head_size,
    head_width,
    state_argument,
)
from l2m_eval.scoring.finished import FinishedWindows
from l2m_eval.scoring.limits import known_tokens
from l2m_eval.scoring.memory import TokenBudget, is_out_of_memory
from l2m_eval.scoring.rotary import RotaryFrequencies
from l2m_eval.scoring.scorer import Advance, Scored, sums_between_cuts
from l2m_eval.scoring.through_states import ThroughStates
from l2m_eval.scoring.windows import Tree, Window, reading_order

logger = logging.getLogger(__name__)

# Float32 logits held at a time, and on a CPU positions, whose logits then stay in its caches for the softmax.
LOGITS_BYTES = 256 * 2**20
CPU_POSITIONS = 512
# Padding allowed in a batch, as a share of its tokens; small batches are exempt, their overhead costs more.
PADDING = 0.05
# Above it a logit is no number of the model: heads set those of padding to minus infinity or the lowest number.
LARGEST_LOGIT = 1e4
# Least length of a context whose state is worth keeping (docs/performance.md).
SHARED_TOKENS = 64


class HuggingFaceScorer:
    """Scores windows with a causal model of the harness' ``hf`` backend."""

    most_pieces: int | None = None
    asks_first = True
    changes_states = True

    def __init__(self, lm: Any):
        self._lm = lm
        self._model = causal_model(lm)
        self._frequencies = RotaryFrequencies(self._model)
        self._vocabulary = known_tokens(lm) or 1
        self._chunked = self._head_can_be_chunked()
        self._shares_prefixes: bool | None = None  # found out when it is first of use
        self._through_states = ThroughStates(self)
        self.token_by_token = False  # whether the model goes on from a state by one token at a time only
        self._budget: TokenBudget | None = None

    @staticmethod
    def serves(lm: Any) -> bool:
        """Whether `lm` is the harness' HFLM with a causal model, and no trained prompt in front of its input."""
        from lm_eval.models.huggingface import HFLM

        # A trained prompt (PEFT) is not in the layers: below its wrapper the model would run without it.
        adapter = getattr(getattr(lm, "model", None), "active_peft_config", None)
        return (
            isinstance(lm, HFLM)
            and lm.backend == "causal"
            and not getattr(adapter, "is_prompt_learning", False)
        )

    def __call__(
        self, windows: Sequence[Window], advance: Advance, finished: FinishedWindows | None = None
    ) -> list[Scored]:
        trees = self._trees(windows)
        budget = self._token_budget(windows)
        scored: dict[int, Scored] = {}
        done = 0
        while done < len(trees):
            batch = next_batch(trees[done:], budget.tokens)
            longest = len(batch[0].trunk)
            inside = [window for tree in batch for window in (tree.trunk, *tree.branches)]
            if finished is not None and (kept := finished.get(inside)) is not None:
                scored.update(zip(map(id, inside), kept, strict=True))
                done += len(batch)
                advance(sum(map(len, inside)))
                continue
            budget.before_batch()
            try:
                answers = self._score(batch)
            except (MemoryError, RuntimeError) as error:  # torch's own is one of the latter
                if not is_out_of_memory(error):
                    raise
                budget.out_of_memory(len(batch), longest)
                continue
            budget.after_batch(len(batch) * longest)
            if finished is not None:
                finished.put(answers)
            scored.update((id(window), answer) for window, answer in answers)
            done += len(batch)
            advance(sum(len(window) for window, _ in answers))
        return [scored[id(window)] for window in windows]

    def _token_budget(self, windows: Sequence[Window]) -> TokenBudget:
        longest = max(map(len, windows), default=1)
        if self._lm.batch_size != "auto":
            return TokenBudget(self._lm.device, longest * int(self._lm.batch_size), fixed=True)
        if self._budget is None:  # an automatic one is kept for the tasks that follow
            self._budget = TokenBudget(self._lm.device, longest, fixed=False)
        return self._budget

    def _trees(self, windows: Sequence[Window]) -> list[Tree]:
        limit = self._frequencies.fixed_up_to
        through = [window for window in windows if window.state]
        if through:
            self._through_states.check(through, limit)
        return reading_order(windows, limit, SHARED_TOKENS, self._can_share_prefixes)

    def _can_share_prefixes(self) -> bool:
        if self._shares_prefixes is None:
            self._shares_prefixes = self._prefixes_can_be_shared()
        return self._shares_prefixes

    @torch.no_grad()
    def _score(self, trees: Sequence[Tree]) -> list[tuple[Window, Scored]]:
        """Read trees of one shape side by side."""
        if trees[0].through_states:
            return self._through_states.score(trees)
        branches = list(zip(*(tree.branches for tree in trees), strict=True))
        answers, state = self.read([tree.trunk for tree in trees], keep_state=bool(branches))
        for windows in branches:
            known = len(windows[0].context) - 1
            answers += self.read(windows, _first_tokens(state, known), known)[0]
        return answers

    def read(
        self, windows: Sequence[Window], state: Any = None, known: int = 0, keep_state: bool = False
    ) -> tuple[list[tuple[Window, Scored]], Any]:
        """Score windows, longest first, of whose tokens the first `known` are in `state` already, and no more."""
        width = len(windows[0]) - 1 - known  # the last target token is predicted, not read
        ids = torch.zeros((len(windows), width), dtype=torch.long)  # (B, T), padded on the right
        rows, positions, targets = [], [], []
        for row, window in enumerate(windows):
            read = torch.from_numpy(np.concatenate([window.context, window.target[:-1]])[known:])
            ids[row, : len(read)] = read
            rows.append(torch.full((len(window.target),), row))
            positions.append(torch.arange(len(window.context) - 1 - known, len(read)))
            targets.append(torch.from_numpy(window.target))
        log_probs, state = self._token_log_probs(
            ids,
            torch.cat(rows),
            torch.cat(positions),
            torch.cat(targets),
            state,
            keep_state,
        )
        answers, start = [], 0
        for window in windows:
            sums = sums_between_cuts(log_probs[start : start + len(window.target)], window.cuts)
            answers.append((window, Scored(sums, len(window) - known)))
            start += len(window.target)
        return answers, state

    def _token_log_probs(
        self,
        ids: torch.Tensor,
        rows: torch.Tensor,
        positions: torch.Tensor,
        targets: torch.Tensor,
        state: Any = None,
        keep_state: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """log q(target | ids up to position) for P places in a batch (B, T): shape (P,), float32; and the state."""
        ids = ids.to(self._lm.device)
        self._frequencies.reset()
        if not self._chunked:
            logits = self._lm._model_call(ids)  # (B, T, V)
            check_shape(self._model, "logits", logits, ids.shape)
            place = (rows.to(logits.device), positions.to(logits.device))
            return _gathered(logits[place], targets).cpu().numpy(), None
        output, kept = self.run_body(ids, state, keep_state)
        hidden = output.last_hidden_state  # (B, T, H)
        check_shape(self._model, "hidden states", hidden, ids.shape)
        selected = hidden[rows.to(hidden.device), positions.to(hidden.device)]  # (P, H)
        kind = type(output)
        del hidden, output, state
        step = max(1, LOGITS_BYTES // (4 * self._vocabulary))
        if selected.device.type == "cpu":
            step = min(step, CPU_POSITIONS)
        pieces = []
        with self._autocast(), head_alone(self._model, kind) as head:
            for low in range(0, len(selected), step):
                logits = head(selected[None, low : low + step])[0]  # (p, V)
                pieces.append(_gathered(logits, targets[low : low + step]))
        return torch.cat(pieces).cpu().numpy(), kept

    def run_body(
        self, ids: torch.Tensor, state: Any = None, keep_state: bool = False, mask: torch.Tensor | None = None
    ) -> tuple[Any, Any]:
        """What the body gives for tokens (B, T) behind a state, and its state then.

        `mask` (B, tokens in the state + T) is False for tokens that are not to be seen.
        """
        if state is not None and self.token_by_token and ids.shape[1] > 1:
            return self._run_body_by_token(ids, state, mask)
        body = body_of(self._model)
        past = {} if state is None else {state_argument(body): state}
        if mask is not None:
            past["attention_mask"] = mask.to(self._lm.device)
        with self._autocast():
            output = body(
                input_ids=ids.to(self._lm.device), use_cache=keep_state or state is not None, **past
            )
        return output, output[state_argument(body)] if keep_state else None

    def _run_body_by_token(self, ids: torch.Tensor, state: Any, mask: torch.Tensor | None) -> tuple[Any, Any]:
        hidden, unread = [], ids.shape[1]
        for tokens in ids.split(1, dim=1):  # (B, 1)
            unread -= 1
            seen = None if mask is None else mask[:, : mask.shape[1] - unread]
            output, state = self.run_body(tokens, state, keep_state=True, mask=seen)
            hidden.append(output.last_hidden_state)
        output.last_hidden_state = torch.cat(hidden, dim=1)
        return output, state

    @property
    def separable(self) -> bool:
        """Whether the body can be run without the head, and its state be kept."""
        return self._chunked

    @property
    def some_tokens(self) -> int:
        """Numbers below this are tokens that the model reads and predicts."""
        return min(self._vocabulary, head_size(self._model) or self._vocabulary)

    @property
    def model(self) -> Any:
        """The causal model itself, below the wrappers of adapters."""
        return self._model

    @property
    def model_name(self) -> str:
        return type(self._model).__name__

    @property
    def biased_by_distance(self) -> bool:
        """Whether attention depends on distances that are counted in the entries of a cache (ALiBi)."""
        config = self._model.config
        return config.model_type in ("bloom", "mpt") or getattr(config, "alibi", False) is True

    def _autocast(self) -> Any:
        dtype = getattr(self._lm, "mixed_precision_dtype", None)
        return torch.autocast(device_type=self._lm.device.type, dtype=dtype, enabled=dtype is not None)

    def _head_can_be_chunked(self) -> bool:
        """Compare the chunked head with the plain forward on a few tokens."""
        vocabulary = self.some_tokens
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, vocabulary, (2, 9), generator=generator)
        rows = torch.arange(2).repeat_interleave(8)
        positions = torch.arange(8).repeat(2)
        targets = ids[:, 1:].reshape(-1)
        with torch.no_grad():
            self._chunked = False
            plain, _ = self._token_log_probs(ids[:, :-1], rows, positions, targets)
            try:
                self._chunked = True
                chunked, _ = self._token_log_probs(ids[:, :-1], rows, positions, targets)
            except Exception as error:  # whatever a model without a separable body does
                reason = f"{type(error).__name__}: {cause(error)}"
            else:
                difference = float(np.max(np.abs(chunked - plain), initial=0.0))
                if difference <= self.rounding or not np.isfinite(plain).all():
                    return True
                reason = f"log-probabilities differ by {difference:.2g}"
        logger.warning(
            "l2m-eval: %s: the head cannot be run apart from the body (%s); the full logits are held in memory",
            type(self._model).__name__,
            reason,
        )
        return False

    def _prefixes_can_be_shared(self) -> bool:
        """Compare a window read behind the state of another with the same window read whole."""
        limit = self._frequencies.fixed_up_to
        if not self._chunked or (limit is not None and limit < 24):  # as long as the check below
            return False
        generator = np.random.default_rng(0)
        vocabulary = self.some_tokens
        trunk, other = generator.integers(0, vocabulary, (2, 24))
        branch = Window(trunk[:9], other[:8], tuple(range(1, 9)), "check")
        try:
            trunk_window = Window(trunk[:1], trunk[1:], (23,), "check")
            _, (_, shared) = self._score([Tree(trunk_window, (branch,))])
            [(_, whole)] = self._score([Tree(branch)])
        except Exception as error:  # whatever a model without such a cache does
            logger.info("l2m-eval: shared prefixes are not computed once: %s", error)
            return False
        return bool(np.max(np.abs(shared.sums - whole.sums)) <= self.rounding)

    @cached_property
    def rounding(self) -> float:
        """By how much another order of arithmetic may change the log-probability of a token, nats.

        A number is rounded by u of it at most: 2⁻⁸ in bfloat16, 2⁻¹¹ in float16, 2⁻²⁴ in float32. The head rounds its
        logits, and the layers their sums, so that the last hidden state is off by the root of their number, every
        component for itself: a logit as large as z by one or two u·z together, and two evaluations of the worst of
        some dozens of tokens by no more than four. Released models have z = 30 to 60, which makes 0.5 to 0.9 nats in
        bfloat16. In float32 the products of a sum are
        added in the same precision, too: √H times as much for H components.
        """
        half = self._half_precision
        unit = torch.finfo(half or torch.float32).eps / 2
        if half is None:
            unit *= math.sqrt(head_width(self._model))
        return max(self.relative_rounding, 4 * unit * self._largest_logit())

    @property
    def relative_rounding(self) -> float:
        """The same for hidden states, as a share of their size; log-probabilities of small logits are no better."""
        return 0.05 if self._half_precision else 1e-4

    @property
    def _half_precision(self) -> torch.dtype | None:
        dtype = self._lm.mixed_precision_dtype or next(self._model.parameters()).dtype
        return dtype if dtype in (torch.float16, torch.bfloat16) else None

    def _largest_logit(self) -> float:
        """Of a few tokens; of padding, which some heads set to minus infinity or the lowest number, none."""
        ids = torch.randint(0, self.some_tokens, (2, 9), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            logits = self._lm._model_call(ids.to(self._lm.device))[..., : self.some_tokens].float().abs()
        known = logits[logits < LARGEST_LOGIT]
        return float(known.max()) if len(known) else 0.0


def next_batch(trees: Sequence[Tree], budget: int) -> Sequence[Tree]:
    """The longest run of trees (of one shape, or windows longest first) within the budget and little padding."""
    width, shape = len(trees[0].trunk), trees[0].shape
    tokens = count = 0
    for tree in trees:
        padded = (count + 1) * width
        wasteful = tokens + len(tree.trunk) < (1 - PADDING) * padded
        if count and (tree.shape != shape or padded > budget or (wasteful and padded > budget // 8)):
            break
        tokens += len(tree.trunk)
        count += 1
    return trees[:count]


def _first_tokens(state: Any, count: int) -> Any:
    """An attention cache as it was after its first `count` tokens; nothing is copied, the cache stays as it is.

    Raises:
        TypeError: a layer that does not keep all tokens, from which no earlier state can be recovered.
    """
    from transformers.cache_utils import DynamicLayer

    earlier = copy.copy(state)
    earlier.layers = [copy.copy(layer) for layer in state.layers]
    for layer in earlier.layers:
        if type(layer) is not DynamicLayer:
            raise TypeError(f"{type(layer).__name__} does not keep all tokens")
        layer.keys, layer.values = layer.keys[..., :count, :], layer.values[..., :count, :]
    return earlier


def _gathered(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log-softmax at the targets, in float32 whatever the logits' precision: (P, V), (P,) -> (P,).

    Raises:
        L2MError: a target beyond the logits, which a GPU would answer with a fault of the whole process.
    """
    if len(targets) and int(targets.max()) >= logits.shape[-1]:
        raise L2MError(
            f"model: it predicts {logits.shape[-1]} tokens, the text has token id {int(targets.max())}; use the "
            "tokenizer it was trained with"
        )
    # Not `cross_entropy`, which on a CPU adds one number after another: its error grows with the vocabulary, in one
    # direction, to 1e-5 nats a token at 262,144 tokens; this one's stays below 1e-7 on average (docs/backends.md).
    logits = logits.float()
    return logits.gather(-1, targets.to(logits.device)[:, None])[:, 0] - logits.logsumexp(-1)
