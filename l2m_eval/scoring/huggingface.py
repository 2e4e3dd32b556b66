"""Per-token log-probabilities of Hugging Face models: never the full logits, no beginning read twice.

The body (everything below the head) runs once over a batch; the model's own forward is then called on chunks
of positions with its body replaced by the stored hidden states, so that soft-capping, logit scaling and
whatever else a head does stay the model's own. Windows that begin as another one does are read behind a copy
of its attention cache. Both ways are compared once per model with the plain forward; where they differ, or
the model does not allow them, the plain way is used.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from l2m_eval.errors import L2MError
from l2m_eval.scoring.base import Advance, Scored, sums_between_cuts
from l2m_eval.scoring.finished import FinishedWindows
from l2m_eval.scoring.memory import TokenBudget, is_out_of_memory
from l2m_eval.windows import Tree, Window, share_beginnings

logger = logging.getLogger(__name__)

# Float32 logits held at a time, and on a CPU positions, whose logits then stay in its caches for the softmax.
LOGITS_BYTES = 256 * 2**20
CPU_POSITIONS = 512
# Padding allowed in a batch, as a share of its tokens; small batches are exempt, their overhead costs more.
PADDING = 0.05
# Least length of a context whose state is worth keeping (docs/performance.md).
SHARED_TOKENS = 64


class HuggingFaceScorer:
    """Scores windows with a causal model of the harness' ``hf`` backend."""

    def __init__(self, lm: Any):
        self._lm = lm
        self._model = _causal_model(lm)
        self._chunked = self._head_can_be_chunked()
        self._shares_beginnings: bool | None = None  # found out when it is first of use
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
        trees = share_beginnings(windows, SHARED_TOKENS)
        if any(tree.branches for tree in trees):
            if self._shares_beginnings is None:
                self._shares_beginnings = self._beginnings_can_be_shared()
            if not self._shares_beginnings:
                return [Tree(window) for window in windows]
        return trees

    @torch.no_grad()
    def _score(self, trees: Sequence[Tree]) -> list[tuple[Window, Scored]]:
        """Read trees of one shape side by side."""
        branches = list(zip(*(tree.branches for tree in trees), strict=True))
        answers, state = self._read([tree.trunk for tree in trees], keep_state=bool(branches))
        for windows in branches:
            answers += self._read(windows, state, len(windows[0].context) - 1)[0]
        return answers

    def _read(
        self, windows: Sequence[Window], state: Any = None, known: int = 0, keep_state: bool = False
    ) -> tuple[list[tuple[Window, Scored]], Any]:
        """Score windows, longest first, of whose tokens the first `known` are in `state` already."""
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
            None if state is None else _first_tokens(state, known),
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
        if not self._chunked:
            logits = self._lm._model_call(ids)  # (B, T, V)
            _check_shape(self._model, "logits", logits, ids.shape)
            place = (rows.to(logits.device), positions.to(logits.device))
            return _gathered(logits[place], targets).cpu().numpy(), None
        body = _body(self._model)
        past = {} if state is None else {_state_argument(body): state}
        with self._autocast():
            output = body(input_ids=ids, use_cache=keep_state or state is not None, **past)
        hidden = output.last_hidden_state  # (B, T, H)
        _check_shape(self._model, "hidden states", hidden, ids.shape)
        kept = output[_state_argument(body)] if keep_state else None
        selected = hidden[rows.to(hidden.device), positions.to(hidden.device)]  # (P, H)
        kind = type(output)
        del hidden, output, past, state
        vocabulary = _vocabulary_size(self._model)
        step = max(1, LOGITS_BYTES // (4 * vocabulary))
        if selected.device.type == "cpu":
            step = min(step, CPU_POSITIONS)
        pieces = []
        with self._autocast(), _head_alone(self._model, kind) as head:
            for low in range(0, len(selected), step):
                logits = head(selected[None, low : low + step])[0]  # (p, V)
                pieces.append(_gathered(logits, targets[low : low + step]))
        return torch.cat(pieces).cpu().numpy(), kept

    def _autocast(self) -> Any:
        dtype = getattr(self._lm, "mixed_precision_dtype", None)
        return torch.autocast(device_type=self._lm.device.type, dtype=dtype, enabled=dtype is not None)

    def _head_can_be_chunked(self) -> bool:
        """Compare the chunked head with the plain forward on a few tokens."""
        vocabulary = min(_vocabulary_size(self._model), _head_size(self._model))
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
                reason = f"{type(error).__name__}: {error}".split("\n")[0]
            else:
                difference = float(np.max(np.abs(chunked - plain), initial=0.0))
                if difference <= self._rounding() or not np.isfinite(plain).all():
                    return True
                reason = f"log-probabilities differ by {difference:.2g}"
        logger.warning(
            "l2m-eval: %s: the head cannot be run apart from the body (%s); whole logits are held in memory",
            type(self._model).__name__,
            reason,
        )
        return False

    def _beginnings_can_be_shared(self) -> bool:
        """Compare a window read behind the state of another with the same window read whole."""
        if not self._chunked or _positions_depend_on_length(self._model.config):
            return False
        generator = np.random.default_rng(0)
        vocabulary = min(_vocabulary_size(self._model), _head_size(self._model))
        trunk, other = generator.integers(0, vocabulary, (2, 24))
        branch = Window(trunk[:9], other[:8], tuple(range(1, 9)), "check")
        try:
            trunk_window = Window(trunk[:1], trunk[1:], (23,), "check")
            _, (_, shared) = self._score([Tree(trunk_window, (branch,))])
            [(_, whole)] = self._score([Tree(branch)])
        except Exception as error:  # whatever a model without such a cache does
            logger.info("l2m-eval: no state of a beginning is shared: %s", error)
            return False
        return bool(np.max(np.abs(shared.sums - whole.sums)) <= self._rounding())

    def _rounding(self) -> float:
        """By how much equal arithmetic in another order may differ: float32 agrees to 1e-5, half precision less."""
        half = next(self._model.parameters()).dtype in (torch.float16, torch.bfloat16)
        return 0.05 if half or self._lm.mixed_precision_dtype else 1e-4


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
        TypeError: a layer that does not keep all tokens, from which no earlier state can be had.
    """
    from transformers.cache_utils import DynamicLayer

    earlier = copy.copy(state)
    earlier.layers = [copy.copy(layer) for layer in state.layers]
    for layer in earlier.layers:
        if type(layer) is not DynamicLayer:
            raise TypeError(f"{type(layer).__name__} does not keep all tokens")
        layer.keys, layer.values = layer.keys[..., :count, :], layer.values[..., :count, :]
    return earlier


def _state_argument(body: Any) -> str:
    """What transformers calls the cache: `past_key_values` until 5.23."""
    return "cache" if "cache" in inspect.signature(body.forward).parameters else "past_key_values"


def _positions_depend_on_length(config: Any) -> bool:
    """Whether the rotary frequencies follow the length of the input, so that a beginning has no state of its own."""
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return any(kind in str(parameters) for kind in ("dynamic", "longrope"))


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
    # One fused pass: faster than log-sum-exp beside a gather, and as fast as a compiled kernel.
    return -torch.nn.functional.cross_entropy(logits.float(), targets.to(logits.device), reduction="none")


def _causal_model(lm: Any) -> Any:
    model = lm.model
    # Adapters of PEFT sit inside the layers, so the model below its wrapper already has them.
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _body(model: Any) -> Any:
    return getattr(model, _body_name(model))


def _body_name(model: Any) -> str:
    # Gemma 3 in transformers 4 has a prefix that it does not use.
    for name in (model.base_model_prefix, "model"):
        if getattr(model, name, None) not in (None, model):
            return str(name)
    raise TypeError("no body module")


def _vocabulary_size(model: Any) -> int:
    return int(model.get_input_embeddings().num_embeddings)


def _head_size(model: Any) -> int:
    """Tokens that the head predicts; that of the embeddings where it does not say."""
    weight = getattr(model.get_output_embeddings(), "weight", None)
    return int(weight.shape[0]) if weight is not None else _vocabulary_size(model)


def _check_shape(model: Any, what: str, answer: torch.Tensor, wanted: torch.Size) -> None:
    """Raise `L2MError` where a model does not answer with one vector for each token it was given."""
    if answer.ndim != 3 or answer.shape[:2] != wanted:
        raise L2MError(
            f"model: {type(model).__name__} answered {tuple(wanted)} tokens with {what} of shape "
            f"{tuple(answer.shape)}; a causal model gives one vector for each token"
        )


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
    name, body = _body_name(model), _body(model)
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
