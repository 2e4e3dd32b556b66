"""Entries of a cache dropped, but for those of the last tokens and of the first: they were computed with all in view.

Queries keep the positions that they would have had: a cache tells a model how many tokens it has seen, not how many
it holds. Rotary keys carry their positions already. The layers of a cache differ:

- full attention: the first `sinks` entries and the last ones are kept;
- a sliding window: the last ones alone, since its first tokens leave it anyway; nothing where it holds few enough;
- recurrent and convolution states have no entries of tokens, and stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from l2m_eval.history_state.smaller.way import SmallerState


@dataclass(frozen=True)
class Window:
    """The last `amount` tokens are in view, and the first `sinks`; the prefix token, the first of all, counts too.

    The last token that is in view is the one that is read behind the state, as in generation, so `amount` − 1
    entries of the last tokens are kept.
    """

    amount: int
    sinks: int = 0
    drops: bool = True

    @property
    def family(self) -> str:
        return f"sinks{self.sinks}+window" if self.sinks else "window"

    @property
    def name(self) -> str:
        return f"{self.family}{self.amount}"

    def whole(self, read: int) -> int:
        """The window that drops nothing when so many tokens were read behind the prefix."""
        return max(read + 1 - self.sinks, 1)

    def of(self, cache: Any) -> SmallerState:
        from l2m_eval.history_state.smaller.layers import attends, copied, tensors_of

        new = copied(cache)
        new.layers = [
            _evicted(layer, 0 if getattr(layer, "is_sliding", False) else self.sinks, self.amount - 1)
            if attends(layer)
            else layer
            for layer in new.layers
        ]
        return SmallerState(new, sum(t.numel() * t.element_size() * 8 for t in tensors_of(new)))


class _FewerEntries:
    """A layer that has seen more tokens than it holds: what it tells a model of positions and masks."""

    dropped: int

    def get_seq_length(self) -> int:
        """Tokens seen, from which the positions of what is read next follow."""
        if self.is_sliding:  # type: ignore[attr-defined]
            return int(self.cumulative_length)  # type: ignore[attr-defined]
        return self.dropped + self._held

    def get_mask_sizes(self, query: Any) -> tuple[int, int]:
        """Entries that the next query sees, itself included, and the position of the first of them."""
        length = query if isinstance(query, int) else query.shape[0]  # transformers 4 gives positions
        return self._held + length, self.get_seq_length() - self._held

    @property
    def _held(self) -> int:
        return int(self.keys.shape[-2])  # type: ignore[attr-defined]


def _evicted(layer: Any, first: int, last: int) -> Any:
    """A copied layer without all entries but the first and the last so many."""
    import torch

    held = layer.keys.shape[-2]
    if first + last >= held:
        return layer

    def kept(entries: torch.Tensor) -> torch.Tensor:  # (B, H, T, D)
        # In a copy: a part of a tensor would keep all of it in memory.
        return torch.cat([entries[..., :first, :], entries[..., held - last :, :]], dim=-2)

    return with_fewer_entries(layer, kept(layer.keys), kept(layer.values), held - first - last)


def with_fewer_entries(layer: Any, keys: Any, values: Any, dropped: int) -> Any:
    """A layer with these entries in place of its own, which has seen `dropped` tokens more than they are."""
    kind = type(layer)
    fewer: Any = object.__new__(type(f"{kind.__name__}WithFewerEntries", (_FewerEntries, kind), {}))
    vars(fewer).update(vars(layer))
    fewer.keys, fewer.values = keys, values
    fewer.dropped = dropped
    return fewer
