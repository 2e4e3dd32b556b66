"""Layers that are built alike keep alike: one of each kind is run, the others are counted like it.

Without weights and arithmetic, what a layer does follows from its modules' classes, sizes and settings alone. Two
layers that agree in all of these (their own number apart) return tensors of the same shapes and leave the same
state behind, so a model of 126 equal layers is counted from one of them. `one_of_each` compares the layers;
`AlikeLayers.completed` puts the others' state back. The caller checks one pass against all layers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from l2m_eval.history_state.cache import StateTensor

FEWEST_LAYERS = 4  # below this there is nothing to save
# A layer's own number, under the names that modules keep it; it decides where its state is put, not how large it is.
_OWN_NUMBER = ("layer_idx", "layer_id", "layer_index", "layer_number", "block_idx", "layer_num")
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class AlikeLayers:
    """The layers of a model, and for each the first one that is built like it.

    Attributes:
        layers: The modules, in order.
        like: For each layer the index of the first that is built alike, shape (layers,).
    """

    layers: tuple[torch.nn.Module, ...]
    like: tuple[int, ...]

    @contextlib.contextmanager
    def one_of_each(self) -> Iterator[None]:
        """Only the first layer of each kind computes; one built like it hands on what that one returned."""
        returned: dict[int, Any] = {}

        def computing(index: int, forward: Any) -> Any:
            def compute(*args: Any, **kwargs: Any) -> Any:
                returned[index] = forward(*args, **kwargs)
                return returned[index]

            return compute

        def handing_on(index: int) -> Any:
            return lambda *args, **kwargs: returned[index]

        try:
            for number, (layer, first) in enumerate(zip(self.layers, self.like, strict=True)):
                layer.forward = computing(number, layer.forward) if first == number else handing_on(first)
            yield
        finally:
            for layer in self.layers:
                layer.__dict__.pop("forward", None)

    def completed(self, tensors: tuple[StateTensor, ...]) -> tuple[StateTensor, ...]:
        """The state of all layers, from a pass under `one_of_each`."""
        by_layer: dict[int | None, list[StateTensor]] = {}
        for tensor in tensors:
            by_layer.setdefault(tensor.layer, []).append(tensor)
        numbered = range(len(self.like))
        others = [t for layer, kept in by_layer.items() if layer not in numbered for t in kept]
        return (*others, *(replace(t, layer=i) for i in numbered for t in by_layer.get(self.like[i], ())))


def alike_layers(model: Any) -> AlikeLayers | None:
    """Which layers of a model are built alike; None where it has no single stack of several layers."""
    root = model.get_decoder() if hasattr(model, "get_decoder") else model
    root = root if isinstance(root, torch.nn.Module) else model
    stacks = [stack for stack in _outermost_lists(root) if len(stack) >= FEWEST_LAYERS]
    if len(stacks) != 1:
        return None
    layers = tuple(stacks[0])
    firsts: dict[Any, int] = {}
    like = tuple(
        firsts.setdefault((_built(layer), _configured(model.config, index, len(layers))), index)
        for index, layer in enumerate(layers)
    )
    return AlikeLayers(layers, like) if len(firsts) < len(layers) else None


def _outermost_lists(module: torch.nn.Module) -> Iterator[torch.nn.ModuleList]:
    for child in module.children():
        if isinstance(child, torch.nn.ModuleList):
            yield child
        else:
            yield from _outermost_lists(child)


def _built(module: torch.nn.Module) -> tuple[Any, ...]:
    """Everything that says how a module computes: classes, sizes, plain settings, for all modules in it."""
    parts = []
    for path, part in module.named_modules():
        plain = tuple(
            (name, repr(value))
            for name, value in sorted(vars(part).items())
            if name not in _OWN_NUMBER and not name.startswith("__") and _is_plain(value)
        )
        tensors = tuple(
            (name, tuple(tensor.shape), str(tensor.dtype))
            for held in (part._parameters, part._buffers)
            for name, tensor in held.items()
            if tensor is not None
        )
        parts.append((path, type(part), plain, tensors))
    return tuple(parts)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _PLAIN)


def _configured(config: Any, index: int, layers: int) -> tuple[Any, ...]:
    """The layer's own entries of the settings that are lists of one entry per layer."""
    parts = [config, getattr(config, "text_config", None)]
    return tuple(
        (name, repr(value[index]))
        for part in parts
        if part is not None
        for name, value in sorted(vars(part).items())
        if isinstance(value, (list, tuple)) and len(value) == layers
    )
