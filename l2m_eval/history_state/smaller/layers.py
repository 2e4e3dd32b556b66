"""The layers of a cache of transformers: which of them are known, and what each keeps.

A full-attention layer keeps keys and values of all tokens, a sliding-window layer those of the last ones, a
linear-attention layer convolution and recurrent states of fixed size, a hybrid layer both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

# Layers that are copied, cut and rounded here; what a layer of another kind keeps beside these is not known.
_KNOWN = (
    "DynamicLayer",
    "DynamicSlidingWindowLayer",
    "LinearAttentionLayer",
    "LinearAttentionAndFullAttentionLayer",
    "LinearAttentionAndSlidingWindowAttentionLayer",
    "DummyLayer",
)
# What linear-attention layers keep by state number, transformers' own notes of it included.
_BY_NUMBER = (
    "conv_states",
    "recurrent_states",
    "is_conv_states_initialized",
    "is_recurrent_states_initialized",
    "has_previous_state",
    "conv_kernel_size",
)


def copied(cache: Any) -> Any:
    """A cache that a model may go on from while the one given stays as it is.

    Keys and values are not copied, since a model puts longer ones in their place; what a model writes over is.

    Raises:
        TypeError: the cache is none with layers, or has a layer of a kind that is not known.
    """
    layers = getattr(cache, "layers", None)
    if not layers or getattr(cache, "offloading", False):
        raise TypeError(f"{type(cache).__name__} is no cache of layers in one place")
    new = copy.copy(cache)
    new.layers = [_copied(layer) for layer in layers]
    return new


def _copied(layer: Any) -> Any:
    if type(layer).__module__ != "transformers.cache_utils" or type(layer).__name__ not in _KNOWN:
        raise TypeError(f"{type(layer).__name__} is a layer of a kind that cannot be changed here")
    new = copy.copy(layer)
    for name in _BY_NUMBER:
        if hasattr(layer, name):
            kept = getattr(layer, name)
            if not isinstance(kept, dict):
                raise TypeError(f"{type(layer).__name__} keeps {name} in a {type(kept).__name__}")
            setattr(new, name, {n: v.clone() if isinstance(v, Tensor) else v for n, v in kept.items()})
    return new


def attends(layer: Any) -> bool:
    """Whether a layer keeps keys and values of tokens."""
    return getattr(layer, "keys", None) is not None


def change_tensors(
    layer: Any, attention: Callable[[Tensor], Tensor], convolution: Callable[[Tensor], Tensor],
    recurrent: Callable[[Tensor], Tensor],
) -> None:  # fmt: skip
    """Put the function's values in the place of a layer's keys and values (B, H, T, D) and of its other states.

    Args:
        layer: Of a copied cache.
        attention: Of keys, and of values.
        convolution: Of the last inputs of a convolution, (B, C, K), K the tokens.
        recurrent: Of a recurrent state, (B, ..., N).
    """
    if attends(layer):
        layer.keys, layer.values = attention(layer.keys), attention(layer.values)
    for name, change in (("conv_states", convolution), ("recurrent_states", recurrent)):
        kept = getattr(layer, name, {})
        for number, state in kept.items():
            if isinstance(state, Tensor):
                kept[number] = change(state)


def tensors_of(cache: Any) -> Iterator[Tensor]:
    """Every tensor of a state."""
    for layer in cache.layers:
        if attends(layer):
            yield from (layer.keys, layer.values)
        for name in ("conv_states", "recurrent_states"):
            yield from (s for s in getattr(layer, name, {}).values() if isinstance(s, Tensor))
