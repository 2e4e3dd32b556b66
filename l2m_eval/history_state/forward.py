"""One forward pass of a model, and what of its past it leaves behind; real tensors or shapes alone."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from l2m_eval.errors import L2MError
from l2m_eval.history_state.cache import (
    StateTensor,
    kept_in_modules,
    read_cache,
    read_modules,
    returned_state,
    windows_of,
)

# The attributes in which RecurrentGemma's modules keep their state; it belongs to what the returned cache holds.
MODULE_STATES = (".conv1d_state", ".recurrent_states")
DECLARE = "declare the size yourself: a formula, a table or a constant"


@dataclass(frozen=True)
class Pass:
    """What one forward pass leaves: the tensors of the state, and the windows that its cache layers say they have."""

    tensors: tuple[StateTensor, ...]
    windows: tuple[int, ...]


Run = Callable[[int], Pass]


class OutOfReach(Exception):
    """A forward pass without arithmetic that takes too many operations."""


def forward(
    model: Any, length: int, device: Any, name: str, make_cache: Callable[[], Any] | None = None
) -> Pass:
    """Read `length` tokens and look at what is kept of them.

    Raises:
        L2MError: no state is returned, or some of it stays inside the modules.
    """
    output, anew = _output(model, length, device, make_cache)
    if anew:
        # A table that is made once (rotary frequencies for long texts) is used again by the next pass; a state is
        # made anew by every pass.
        output, anew = _output(model, length, device, make_cache)
    if anew and output[0] is None and make_cache is None:
        # RecurrentGemma returns no cache; one that is given to it is filled nonetheless.
        from transformers.cache_utils import DynamicCache

        output, anew = _output(model, length, device, lambda: DynamicCache(config=model.config))
    unknown = [name_in_model for name_in_model in anew if not name_in_model.endswith(MODULE_STATES)]
    if unknown:
        raise L2MError(
            f"model: {name} keeps state inside its modules ({unknown[0]}), where it cannot be counted; {DECLARE}"
        )
    cache, shared = output
    tensors = read_cache(cache, config=model.config, shared=shared) if cache is not None else ()
    tensors += read_modules(anew)
    if not tensors:
        raise L2MError(
            f"model: {name} returns no history state from a forward pass with use_cache=True (an encoder, or a model "
            f"without a cache); {DECLARE}"
        )
    return Pass(tensors, windows_of(cache))


def _output(
    model: Any, length: int, device: Any, make_cache: Callable[[], Any] | None
) -> tuple[tuple[Any, set[int]], dict[str, torch.Tensor]]:
    """The returned cache with the layers whose keys are their values, and the tensors that modules hold anew."""
    accepted = inspect.signature(model.forward).parameters
    ids = torch.full((1, length), _plain_token(model.config), dtype=torch.long, device=device)  # (1, L)
    extra: dict[str, Any] = {}
    given = None
    if "logits_to_keep" in accepted:
        extra["logits_to_keep"] = 1  # the logits of all positions would be far larger than the state
    if make_cache is not None:
        fields = ("cache", "past_key_values", "cache_params")
        given = extra[next((n for n in fields if n in accepted), "past_key_values")] = make_cache()
    before = kept_in_modules(model)
    with torch.no_grad(), _watched_updates() as shared:
        output = model(input_ids=ids, use_cache=True, **extra)
    anew = {key: value for key, value in kept_in_modules(model).items() if before.get(key) is not value}
    cache = returned_state(output)
    return (given if cache is None else cache, shared), anew


@contextlib.contextmanager
def _watched_updates() -> Iterator[set[int]]:
    """Collects the layers that give a cache one tensor both as keys and as values.

    A cache that grows by concatenation makes two tensors of it, which hold every number twice.
    """
    from transformers.cache_utils import Cache

    update, shared = Cache.update, set[int]()

    def watching(
        self: Any, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Any:
        if _same_memory(key_states, value_states):
            shared.add(layer_idx)
        return update(self, key_states, value_states, layer_idx, *args, **kwargs)

    Cache.update = watching
    try:
        yield shared
    finally:
        Cache.update = update


def _same_memory(first: Any, second: Any) -> bool:
    if first is second:
        return True
    if (
        not (isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor))
        or first.shape != second.shape
    ):
        return False
    return (
        first.untyped_storage()._cdata == second.untyped_storage()._cdata
        and first.storage_offset() == second.storage_offset()
        and first.stride() == second.stride()
    )


def _plain_token(config: Any) -> int:
    """A token id that means nothing particular (padding and image tokens change what a model does)."""
    special: set[int] = set()
    for part in (config, getattr(config, "text_config", None)):
        fields = vars(part).items() if part is not None else ()
        special |= {v for k, v in fields if k.endswith(("token_id", "token_index")) and isinstance(v, int)}
    return next(token for token in range(3, len(special) + 4) if token not in special)
