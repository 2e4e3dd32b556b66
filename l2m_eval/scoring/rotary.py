"""Rotary frequencies that depend on the length of the input, as with "dynamic" and "longrope" scaling.

With such a model log q(y|x) depends on how many tokens are read in one pass, and on what the model has read before:
transformers keeps the frequencies of the longest input so far. A window is therefore read at its own length, among
windows of the same length, with the frequencies of a model that has read nothing yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Names of such scalings in configurations; "su" is what the first Phi-3 called longrope.
_FOLLOW_LENGTH = ("dynamic", "longrope", "su")


class RotaryFrequencies:
    """The parts of a model whose frequencies depend on the length of the input.

    Args:
        model: A Hugging Face model.

    Attributes:
        fixed_up_to: Tokens read in one pass up to which the length does not matter; None where it never does.
    """

    def __init__(self, model: Any):
        self._modules = [module for module in model.modules() if _follows_length(module)]
        limits = [_limit(module) for module in self._modules]
        if not limits and _configured(getattr(model, "config", None)):
            limits = [0]  # somewhere in the model, so that every length may matter
        self.fixed_up_to: int | None = min(limits, default=None)
        # Modules of other makers say nothing of how they were at first.
        self._at_first = [(dict(vars(module)), dict(module._buffers)) for module in self._modules]

    def reset(self) -> None:
        """Make the frequencies those of a model that has read nothing yet."""
        for module, (attributes, buffers) in zip(self._modules, self._at_first, strict=True):
            device = {name: buffer.device for name, buffer in module._buffers.items() if buffer is not None}
            for name, value in attributes.items():
                if name.endswith("max_seq_len_cached"):
                    original = getattr(module, "original_max_seq_len", value)
                    setattr(module, name, original)
            for name, buffer in buffers.items():
                if buffer is None:
                    continue
                if name.endswith("inv_freq") and "original" not in name:
                    prefix = name.removesuffix("inv_freq")
                    buffer = getattr(module, f"{prefix}original_inv_freq", buffer)
                module._buffers[name] = buffer.to(device.get(name, buffer.device)).clone()


def fixed_up_to(lm: Any) -> int | None:
    """`RotaryFrequencies.fixed_up_to` of the model of a harness LM that runs in this process; None for others."""
    if not hasattr(lm, "_l2m_fixed_up_to"):
        model: Any = getattr(lm, "model", None)
        known = callable(getattr(model, "modules", None))
        lm._l2m_fixed_up_to = RotaryFrequencies(model).fixed_up_to if known else None
    found: int | None = lm._l2m_fixed_up_to
    return found


def _follows_length(module: Any) -> bool:
    kinds = getattr(module, "rope_type", None)
    if kinds is not None:
        return any(kind in _FOLLOW_LENGTH for kind in _strings(kinds))
    name = type(module).__name__.lower()
    return ("rotary" in name or "rope" in name) and (
        any(word in name for word in ("dynamic", "longrope", "suscaled"))
        or bool(getattr(getattr(module, "config", None), "use_dynamic_ntk", False))
    )


def _limit(module: Any) -> int:
    """Tokens up to which the frequencies are those of a short input; 0 where it is not said."""
    config = getattr(module, "config", None)
    settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    originals = [int(value) for key, value in _pairs(settings) if key == "original_max_position_embeddings"]
    kinds = list(_strings(getattr(module, "rope_type", "")))
    if "longrope" in kinds or "longrope" in type(module).__name__.lower():
        found = [*originals, getattr(config, "original_max_position_embeddings", None)]
    else:
        found = [*originals, getattr(module, "original_max_seq_len", None)]
        found.append(getattr(module, "max_position_embeddings", None))
    return min((int(value) for value in found if value), default=0)


def _configured(config: Any) -> bool:
    """Whether a configuration, or one inside it, asks for such a scaling."""
    given = config.to_dict() if hasattr(config, "to_dict") else {}
    return any(
        (key in ("rope_type", "type") and value in _FOLLOW_LENGTH)
        or (key == "use_dynamic_ntk" and value is True)
        for key, value in _pairs(given)
    )


def _pairs(given: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values, those of mappings inside included."""
    if isinstance(given, Mapping):
        for key, value in given.items():
            yield str(key), value
            yield from _pairs(value)


def _strings(kinds: Any) -> Iterator[str]:
    yield from map(str, kinds.values() if isinstance(kinds, Mapping) else [kinds])
