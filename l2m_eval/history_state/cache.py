"""Reads the history state out of what a model's forward pass returns.

The floating-point tensors of the returned cache are the history state (integers are positions and counters).
Nothing is assumed about the cache's class: objects, lists and dicts are searched for tensors, and the name a
tensor is kept under says what kind of state it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from l2m_eval.errors import L2MError
from l2m_eval.history_state.state import (
    ATTENTION,
    COMPRESSED_LATENT,
    CONVOLUTION,
    INDEX,
    OTHER,
    RECURRENT,
    SLIDING_WINDOW,
)

# Where the forward passes of transformers' models return their state, by the names used over the years.
STATE_FIELDS = (
    "cache",
    "past_key_values",
    "cache_params",
    "state",
    "rnn_state",
    "mems",
    "past_buckets_states",
)
_NOT_STATE = (torch.nn.Module, torch.device, torch.dtype, torch.Stream, type)


@dataclass(frozen=True)
class StateTensor:
    """One tensor of the state of one sequence.

    Attributes:
        layer: Its layer; None where one tensor belongs to all layers.
        kind: What kind of state it is, one of `KINDS`.
        elements: Distinct numbers in it.
        bits: Bits in which those are stored.
        dtype: How they are stored.
        allocated: Elements that the cache allocates, copies included.
    """

    layer: int | None
    kind: str
    elements: int
    bits: int
    dtype: str
    allocated: int


def returned_state(output: Any) -> Any:
    """The cache among the fields of a model's output; None where there is none."""
    fields = output if isinstance(output, Mapping) else vars(output) if hasattr(output, "__dict__") else {}
    for name in STATE_FIELDS:
        if fields.get(name) is not None:
            return {"state": fields[name]} if name in ("state", "rnn_state") else fields[name]
    return None


def read_cache(
    cache: Any, *, batch_size: int = 1, config: Any = None, shared: Collection[int] = ()
) -> tuple[StateTensor, ...]:
    """The state tensors of a cache, per sequence of the batch.

    Distinct numbers are counted: a tensor that is kept under two names counts once, and of keys and values that are
    copied to all heads (Falcon) each copy but the first holds no information; `StateTensor.allocated` has them.
    Of a preallocated (static) cache the filled part counts. Quantised keys and values count with their logical
    number of elements, and with the bits of everything that is stored for them, scales and zero points included.
    Where a tensor lies (offloaded or not) makes no difference.

    Args:
        cache: What the model returned: a cache object, or the tuples of older models.
        batch_size: Sequences in the batch; sizes are divided by it.
        config: The model's configuration, which tells a compressed latent from an attention cache.
        shared: Layers whose keys are their values too; their values are not counted again.

    Raises:
        L2MError: the cache holds a size that is not a multiple of the batch.
    """
    tensors = []
    found = list(_tensors(cache, None, "", None, set()))
    kinds = [_kind(name, owner, tensor, config) for _, name, owner, _, _, tensor in found]
    attention = [
        tensor for (*_, tensor), kind in zip(found, kinds, strict=True) if kind in (ATTENTION, SLIDING_WINDOW)
    ]
    copied = _copied_heads({tensor.shape[1] for tensor in attention if tensor.ndim == 4}, config)
    for (layer, name, _, elements, bits, tensor), kind in zip(found, kinds, strict=True):
        if elements % batch_size or bits % batch_size:
            raise L2MError(
                f"batch_size: {batch_size} does not divide the {elements:,} elements of the state {name!r}; give the "
                "batch size of the forward pass that filled the cache"
            )
        if layer in shared and name.endswith(".values"):
            continue
        copies = _copies(tensor, *copied) if copied and kind in (ATTENTION, SLIDING_WINDOW) else 1
        dtype = str(tensor.dtype).removeprefix("torch.")
        if name.endswith(("_quantized_keys", "_quantized_values")):
            dtype = f"{bits / max(elements, 1):.3g} bits, quantised"
        elements, bits = elements // batch_size, bits // batch_size
        tensors.append(StateTensor(layer, kind, elements // copies, bits // copies, dtype, elements))
    return tuple(tensors)


def windows_of(cache: Any) -> tuple[int, ...]:
    """Sliding windows that the layers of a cache say they have, in tokens."""
    layers = getattr(cache, "layers", None) or []
    found = {getattr(layer, "sliding_window", None) for layer in layers}
    return tuple(sorted(int(w) for w in found if isinstance(w, int) and w > 0))


def _tensors(
    value: Any, layer: int | None, name: str, owner: Any, seen: set[tuple[int, ...]]
) -> Iterator[tuple[int | None, str, Any, int, int, torch.Tensor]]:
    """(layer, name, the object that holds it, elements, bits, tensor) of every floating tensor below `value`."""
    if isinstance(value, torch.Tensor):
        if not value.is_floating_point() or value.numel() == 0 or _same_as_before(value, seen):
            return
        elements = round(value.numel() * _filled(owner))
        yield layer, name, owner, elements, elements * value.element_size() * 8, value
    elif name.endswith(("_quantized_keys", "_quantized_values")):
        if value is not None:
            logical = owner._dequantize(value)
            stored = sum(tensor.numel() * tensor.element_size() * 8 for tensor in _stored(value))
            yield layer, name, owner, logical.numel(), stored, logical
    elif isinstance(value, Mapping):
        for key, item in value.items():
            index = key if layer is None and isinstance(key, int) else layer
            yield from _tensors(item, index, f"{name}.{key}", owner, seen)
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            # A list of five states, each over all layers (RWKV), is not a list of layers.
            a_layer = layer is None and not (name == ".state" and isinstance(item, torch.Tensor))
            yield from _tensors(item, position if a_layer else layer, f"{name}.{position}", owner, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, _NOT_STATE) and not hasattr(value, "to_dict"):
        for key, item in vars(value).items():
            yield from _tensors(item, layer, f"{name}.{key}", value, seen)


def _same_as_before(tensor: torch.Tensor, seen: set[tuple[int, ...]]) -> bool:
    key = (tensor.untyped_storage()._cdata, tensor.storage_offset(), *tensor.shape)
    if key in seen:
        return True
    seen.add(key)
    return False


def _filled(owner: Any) -> float:
    """The filled fraction of a preallocated layer; 1 for any other."""
    allocated = getattr(owner, "max_cache_len", None)
    used = getattr(owner, "cumulative_length", None)
    if used is None and hasattr(owner, "get_seq_length"):
        used = owner.get_seq_length()  # transformers 4 keeps no count
    if not allocated or used is None:
        return 1.0
    return min(int(used), int(allocated)) / int(allocated)


def _stored(value: Any) -> Iterator[torch.Tensor]:
    """The plain tensors that a quantised value is stored in."""
    if isinstance(value, torch.Tensor):
        if type(value) is not torch.Tensor and hasattr(value, "__tensor_flatten__"):
            names, _ = value.__tensor_flatten__()
            for name in names:
                yield from _stored(getattr(value, name))
        else:
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _stored(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _stored(item)


def _kind(name: str, owner: Any, tensor: torch.Tensor, config: Any) -> str:
    last = name.lower()
    if "conv" in last:
        return CONVOLUTION
    if any(word in last for word in ("recurrent", "ssm", "rnn", "linear_cache", ".state", "lstm")):
        return RECURRENT
    if "index" in last:
        return INDEX
    if any(word in last for word in ("compressed", "buffer_", "overlap_")):
        return COMPRESSED_LATENT
    if getattr(owner, "is_sliding", False) is True:
        return SLIDING_WINDOW
    if _is_latent(tensor, config):
        return COMPRESSED_LATENT
    # keys and values of a cache layer, pairs of a tuple cache, or memories of hidden states
    if any(word in last for word in ("key", "value", "mems", "states")) or owner is None:
        return ATTENTION
    return OTHER


def _copied_heads(held: Iterable[int], config: Any) -> tuple[int, int] | None:
    """Heads that attend, and fewer heads whose keys and values a cache holds once for each of them (Falcon).

    None where it holds them once: where the configuration names no fewer heads, and where a layer does hold as few
    as it names. A layer with more heads beside such a one has them of its own (MiMo's sliding layers).
    """
    if config is None:
        return None
    decoder = decoder_of(config)
    groups = {
        value
        for field in ("num_key_value_heads", "num_kv_heads")
        for value in settings_of(decoder, field)
        if isinstance(value, int) and value > 0
    }
    attending = settings_of(decoder, "num_attention_heads")
    if len(groups) != 1 or len(attending) != 1 or groups & set(held):
        return None
    [group], [heads] = groups, attending
    return (heads, group) if heads % group == 0 else None


def _copies(tensor: torch.Tensor, heads: int, group: int) -> int:
    """How often keys or values are kept: once, or for every one of `heads`; live ones are compared by value."""
    if tensor.ndim != 4 or tensor.shape[1] != heads:
        return 1
    if not tensor.is_meta:
        grouped = tensor.unflatten(1, (group, heads // group))  # (B, G, copies, L, D)
        if not bool((grouped == grouped[:, :, :1]).all()):
            return 1
    return heads // group


def decoder_of(config: Any) -> Any:
    """The part of a configuration that describes the decoder of text."""
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def _is_latent(tensor: torch.Tensor, config: Any) -> bool:
    """Whether keys or values are the shared latent of multi-head latent attention, not one set per head."""
    if tensor.ndim != 4 or tensor.shape[1] != 1:
        return False
    decoder = decoder_of(config)
    ranks = [rank for rank in settings_of(decoder, "kv_lora_rank") if isinstance(rank, int)]
    rotary = [width for width in settings_of(decoder, "qk_rope_head_dim") if isinstance(width, int)]
    return bool(ranks) and tensor.shape[-1] in {*ranks, *rotary, *(r + w for r in ranks for w in rotary)}


def settings_of(config: Any, name: str) -> list[Any]:
    """Values of a setting: one, or one per layer where layers differ (such configurations refuse the plain name)."""
    try:
        return [getattr(config, name)]
    except AttributeError:
        return []
    except Exception:
        layers = config.per_layer_config
        return [
            getattr(layer, name, None) for layer in (layers.values() if isinstance(layers, dict) else layers)
        ]


def kept_in_modules(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Floating tensors that modules hold as plain attributes, by name.

    Parameters and buffers are not among them. One that every forward pass makes anew is a state that the returned
    cache does not contain (RecurrentGemma).
    """
    held = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and math.prod(value.shape) > 0:
                held[f"{path}.{name}"] = value
    return held


def read_modules(held: Mapping[str, torch.Tensor]) -> tuple[StateTensor, ...]:
    """State tensors that modules keep themselves, from their names: ``model.layers.3.block.conv1d_state``."""
    tensors = []
    for name, tensor in held.items():
        numbers = [part for part in name.split(".") if part.isdecimal()]
        bits = tensor.numel() * tensor.element_size() * 8
        dtype = str(tensor.dtype).removeprefix("torch.")
        layer, kind = int(numbers[0]) if numbers else None, _kind(name, tensor, tensor, None)
        tensors.append(StateTensor(layer, kind, tensor.numel(), bits, dtype, tensor.numel()))
    return tuple(tensors)
