"""The context that a model claims: what its configuration says, or a server that runs it was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

# Names under which configurations have it; the first one present counts.
_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "max_seq_length",
    "seq_length",
    "n_ctx",
)
# Kinds of rotary scaling whose configurations name the length before it is stretched.
_STRETCHED = ("linear", "dynamic", "yarn")
# Models whose configurations name the stretched length although their scaling is of such a kind.
_NAMES_THE_WHOLE = ("gemma3",)


def claimed_context(lm: Any) -> int | None:
    """Tokens that the model of a harness LM is said to read; None where nothing says it.

    A recurrent model's configuration names no length, nor does an API.
    """
    model: Any = getattr(lm, "model", None)
    if hasattr(model, "get_base_model"):  # PEFT's wrapper
        model = model.get_base_model()
    for source in (getattr(model, "config", None), getattr(lm, "_config", None)):
        claimed = claimed_by_configuration(source)
        if claimed is not None:
            return claimed
    return None


def claimed_by_configuration(configuration: Any) -> int | None:
    """Tokens that a Hugging Face configuration claims, rotary scaling included; None where it names none."""
    if configuration is None:
        return None
    if callable(getattr(configuration, "get_text_config", None)):
        configuration = configuration.get_text_config()
    named = next((n for n in (getattr(configuration, name, None) for name in _NAMES) if _is_length(n)), None)
    if named is None:
        return None
    scaling = getattr(configuration, "rope_scaling", None) or getattr(configuration, "rope_parameters", None)
    kind = str(getattr(configuration, "model_type", ""))
    if not isinstance(scaling, Mapping) or kind.startswith(_NAMES_THE_WHOLE):
        return named
    factor = scaling.get("factor")
    if scaling.get("rope_type", scaling.get("type")) not in _STRETCHED or not isinstance(
        factor, (int, float)
    ):
        return named
    original = scaling.get("original_max_position_embeddings")
    unstretched = original if _is_length(original) else named
    return max(named, int(unstretched * factor))


def _is_length(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**40
