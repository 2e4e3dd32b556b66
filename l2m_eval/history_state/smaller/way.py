"""What a way to make a state smaller is, and the two that change no state: the whole one, and a shorter prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class SmallerState:
    """A state that a model can go on from.

    Attributes:
        cache: As the model takes it.
        bits: What is kept of it, for all sequences of the batch together.
    """

    cache: Any
    bits: int


class Way(Protocol):
    """A way to make a state smaller.

    Attributes:
        name: As settings and results have it, for example ``sinks4+window256``.
        family: The ways that differ in their amount alone: ``sinks4+window``.
        amount: What they differ in: 256 tokens.
        drops: Whether it keeps fewer elements of the state, rather than fewer bits of each.
    """

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str: ...

    @property
    def amount(self) -> int: ...

    @property
    def drops(self) -> bool: ...

    def of(self, cache: Any) -> SmallerState:
        """The smaller state; `cache` stays as it is.

        Raises:
            TypeError: a cache that cannot be changed in this way.
        """


@dataclass(frozen=True)
class Full:
    """The whole state, in a copy that a model may change."""

    name: str = "full"
    family: str = "full"
    amount: int = 0
    drops: bool = False

    def of(self, cache: Any) -> SmallerState:
        from l2m_eval.history_state.smaller.layers import copied, tensors_of

        copy = copied(cache)
        return SmallerState(copy, sum(t.numel() * t.element_size() * 8 for t in tensors_of(copy)))


FULL = Full()


@dataclass(frozen=True)
class Context:
    """A shorter prompt: the model never reads what stands before the last `amount` tokens.

    Not a change of a state that was computed, so every backend can do it.
    """

    amount: int
    family: str = "context"
    drops: bool = False

    @property
    def name(self) -> str:
        return f"{self.family}{self.amount}"

    def whole(self, read: int) -> int:
        """The context that is all of so many tokens."""
        return read

    def of(self, cache: Any) -> SmallerState:
        raise TypeError("a shorter context is read anew, no state is changed")
