"""The history state of a language model: dim z(L), the size of what it remembers of L tokens.

`history_state_size` gives it for a loaded model, a configuration alone, or a declaration; `state_growth` says how
it grows. Importing this package imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from l2m_eval.history_state.declared import DeclaredState, declared_history_state, parse_declaration
from l2m_eval.history_state.state import HistoryState, LayerState, StateGrowth, state_growth

__all__ = [
    "DeclaredState",
    "HistoryState",
    "LayerState",
    "StateGrowth",
    "declared_history_state",
    "history_state_size",
    "parse_declaration",
    "state_growth",
]


def history_state_size(
    source: Any,
    lengths: Sequence[int],
    *,
    make_cache: Callable[[], Any] | None = None,
    trust_remote_code: bool = False,
    name: str = "",
    dtype: str = "",
) -> HistoryState:
    """dim z(L): elements and bits of the history state of one sequence after L tokens, per kind of layer.

    Args:
        source: One of: a loaded Hugging Face model, whose own cache is read after forward passes; a configuration
            (a `PretrainedConfig`, its settings, a folder with a ``config.json``, such a file, a GGUF file, a hub
            id), which is built and run without weights or arithmetic; a declaration (a mapping with ``formula``,
            ``table`` or ``constant``, see `parse_declaration`) for models that are neither.
        lengths: Numbers of tokens.
        make_cache: For a loaded model, gives the empty cache to fill instead of the model's own.
        trust_remote_code: For a configuration, allow an architecture whose code comes with it.
        name: What to call the model in reports.
        dtype: For a configuration, in which the model runs (``bfloat16``), where that is not what it says.

    Raises:
        L2MError: a bad length, a configuration that cannot be read, an architecture whose state cannot be counted
            (never reported as zero), or a declaration that makes no sense.
    """
    if isinstance(source, DeclaredState) or (isinstance(source, Mapping) and "model_type" not in source):
        return declared_history_state(source, lengths, name=name)
    if hasattr(source, "forward") and hasattr(source, "config"):
        from l2m_eval.history_state.model import state_of_model

        return state_of_model(source, lengths, make_cache=make_cache, name=name)
    from l2m_eval.history_state.configuration import state_of_configuration

    if isinstance(source, Mapping):
        name = name or str(source["model_type"])
    return state_of_configuration(
        source, lengths, trust_remote_code=trust_remote_code, name=name, dtype=dtype
    )
