"""Caches compressed by a press of the kvpress library while the model reads: ``kvpress:snapkv:0.5``.

A press looks at what an attention layer has computed for a text and drops entries of its cache, another selection in
every head. So it is no function of the state: the text is read again under it. Queries that follow keep the
positions that they would have had, and the entries that are left keep theirs, as in the library's own pipeline.

Presses that score entries and drop a share of them are taken (its `ScorerPress`), by their names without ``Press``,
in small letters: knorm, streaming_llm, snapkv, expected_attention, tova and others.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from l2m_eval.errors import L2MError
from l2m_eval.history_state.smaller.library import has_module, require_module
from l2m_eval.history_state.smaller.way import SmallerState

_TRANSFORMERS_BELOW = (5, 3)  # that kvpress 0.5.5 declares


@dataclass(frozen=True)
class Pressed:
    """`amount` percent of the entries, those that a press leaves."""

    press: str
    amount: int
    drops: bool = True

    @property
    def family(self) -> str:
        return f"kvpress:{self.press}"

    @property
    def ratio(self) -> float:
        """The share of the entries that is dropped."""
        return (100 - self.amount) / 100

    @property
    def name(self) -> str:
        return f"{self.family}:{self.ratio:g}"

    def require_library(self) -> None:
        """Whether kvpress is installed and has this press.

        Raises:
            L2MError: it is not there, or has no such press; with what would be right.
        """
        note = ""
        if not has_module("kvpress"):
            import transformers

            version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
            if version >= _TRANSFORMERS_BELOW:
                note = (
                    f" in an environment of its own: kvpress 0.5.5 needs transformers below 5.3, and "
                    f"{transformers.__version__} is installed here"
                )
        require_module(self.name, "kvpress", "kvpress", note)
        if self._plain not in _presses():
            near = difflib.get_close_matches(self._plain, _presses(), n=1)
            hint = f" (nearest: {near[0]})" if near else ""
            raise L2MError(
                f"states: kvpress has no press {self.press!r} that scores entries{hint}; it has "
                f"{', '.join(sorted(_presses()))}"
            )

    def during(self) -> Any:
        """The library's press; called with a model it is a context in which that model reads."""
        return _presses()[self._plain](compression_ratio=self.ratio)

    def of(self, cache: Any) -> SmallerState:
        raise TypeError("a press works while a text is read, and changes no state that is there")

    def made(self, cache: Any, seen: int) -> SmallerState:
        """The state of a model that has read so many tokens under the press.

        Raises:
            TypeError: a layer of another kind than plain attention over all tokens, which presses do not know.
        """
        from l2m_eval.history_state.smaller.evicted import with_fewer_entries
        from l2m_eval.history_state.smaller.layers import attends, copied, tensors_of

        new = copied(cache)
        for layer in new.layers:
            if not attends(layer) or getattr(layer, "is_sliding", False):
                raise TypeError("presses know layers alone that attend to all tokens")
        new.layers = [
            with_fewer_entries(layer, layer.keys, layer.values, seen - layer.keys.shape[-2])
            for layer in new.layers
        ]
        return SmallerState(new, sum(8 * t.numel() * t.element_size() for t in tensors_of(new)))

    @property
    def _plain(self) -> str:
        return self.press.replace("_", "")


@lru_cache(maxsize=1)
def _presses() -> dict[str, Any]:
    """The presses that score entries, by name in small letters.

    Raises:
        L2MError: kvpress is installed and cannot be imported.
    """
    try:
        import kvpress
    except Exception as error:  # another release of transformers, most of all
        raise L2MError(
            f"states: kvpress is installed and cannot be imported ({type(error).__name__}: {error}); kvpress 0.5.5 "
            "needs transformers below 5.3"
        ) from error
    return {
        name.removesuffix("Press").lower(): kind
        for name, kind in vars(kvpress).items()
        if isinstance(kind, type)
        and issubclass(kind, kvpress.ScorerPress)
        and kind is not kvpress.ScorerPress
    }
