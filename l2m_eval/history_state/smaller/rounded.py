"""Rounding of a state to few bits: the reference with which quantised caches are compared.

A row x of numbers is kept as integers of b bits and one scale s, symmetric around zero:

    n = 2^(b − 1) − 1,   s = max |x| / n,   x ≈ s · round(x / s),

so that 2 bits are the three levels −s, 0, s. A row is what one head keeps of one token (keys and values), one row of
a recurrent state, or what all channels of a convolution keep of one token. The scale is stored as the state was, in
its own precision. Nothing of a row but these is kept, and the size counts both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l2m_eval.history_state.smaller.way import SmallerState

if TYPE_CHECKING:
    from torch import Tensor

FEWEST_BITS, MOST_BITS = 2, 16


@dataclass(frozen=True)
class Rounded:
    """Every number of the state in `amount` bits."""

    amount: int
    family: str = "bits"
    drops: bool = False

    @property
    def name(self) -> str:
        return f"{self.family}{self.amount}"

    def of(self, cache: Any) -> SmallerState:
        from l2m_eval.history_state.smaller.layers import change_tensors, copied

        kept = 0

        def rounded(state: Tensor, dim: int = -1) -> Tensor:
            nonlocal kept
            if state.numel():
                scales = state.numel() // state.shape[dim]
                kept += self.amount * state.numel() + 8 * state.element_size() * scales
            return round_rows(state, self.amount, dim)

        new = copied(cache)
        for layer in new.layers:
            change_tensors(layer, rounded, lambda state: rounded(state, 1), rounded)
        return SmallerState(new, kept)


def round_rows(state: Tensor, bits: int, dim: int = -1) -> Tensor:
    """A tensor whose rows along `dim` are rounded to `bits` bits and a scale of the tensor's own precision."""
    if not state.numel():
        return state
    most = 2 ** (bits - 1) - 1
    scale = (state.abs().amax(dim, keepdim=True).float() / most).to(state.dtype)
    # A row of zeros has no scale, and needs none.
    whole = (state.float() / scale.float()).nan_to_num(0.0, 0.0, 0.0).round_().clamp_(-most, most)
    return (whole * scale.float()).to(state.dtype)
