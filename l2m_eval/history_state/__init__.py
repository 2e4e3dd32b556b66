"""The history state of a language model: dim z(L), the size of what it remembers of L tokens.

`history_state_size` gives it for a loaded model, a configuration alone, or a statement; `state_growth` says how
it grows. Importing this package imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from l2m_eval.history_state.formula import StateStatement, parse_statement, stated_history_state
from l2m_eval.history_state.state import HistoryState, LayerState, StateGrowth, state_growth

__all__ = [
    "HistoryState",
    "LayerState",
    "StateGrowth",
    "StateStatement",
    "history_state_size",
    "parse_statement",
    "state_growth",
    "stated_history_state",
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
            (a `PretrainedConfig`, a folder with a ``config.json``, such a file, a hub id), which is built and run
            without weights or arithmetic; a statement (a mapping with ``formula``, ``table`` or ``constant``, see
            `parse_statement`) for models that are neither.
        lengths: Numbers of tokens.
        make_cache: For a loaded model, gives the empty cache to fill instead of the model's own.
        trust_remote_code: For a configuration, allow an architecture whose code comes with it.
        name: What to call the model in reports.
        dtype: For a configuration, in which the model runs (``bfloat16``), where that is not what it says.

    Raises:
        L2MError: a bad length, a configuration that cannot be read, an architecture whose state cannot be counted
            (never reported as zero), or a statement that makes no sense.
    """
    if isinstance(source, (StateStatement, Mapping)):
        if isinstance(source, Mapping) and "model_type" in source:
            source = _configuration_from(source)
        else:
            return stated_history_state(source, lengths, name=name)
    from l2m_eval.history_state import measure

    if hasattr(source, "forward") and hasattr(source, "config"):
        return measure.state_of_model(source, lengths, make_cache=make_cache, name=name)
    return measure.state_of_configuration(
        source, lengths, trust_remote_code=trust_remote_code, name=name, dtype=dtype
    )


def _configuration_from(settings: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    from l2m_eval.errors import L2MError

    try:
        return AutoConfig.for_model(**settings)
    except Exception as error:
        raise L2MError(
            f"model: no configuration of type {settings['model_type']!r} can be made of these settings: "
            f"{str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__}"
        ) from error
