"""The quantised caches of transformers, through the libraries that they rest on: ``quanto4``, ``hqq4`` and others.

Keys and values are quantised as transformers' `QuantizedCache` does when it has read a text: in groups of 64 numbers
with a scale and an offset, by `QuantoQuantizedLayer` (along axis 0) or `HQQQuantizedLayer` (along axis 1), which are
the settings that its documentation recommends. A model goes on from what they give back. Each sequence is quantised
alone, so that no group spans two. Recurrent and convolution states stay as they are, as in that cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l2m_eval.errors import L2MError
from l2m_eval.history_state.smaller.library import require_module
from l2m_eval.history_state.smaller.way import SmallerState

if TYPE_CHECKING:
    from torch import Tensor

GROUP = 64  # numbers that share a scale and an offset: transformers' own default
# By family, which is the name of our extra, too: the bits it has, its layer in transformers, the axis, the module.
LIBRARIES: dict[str, tuple[tuple[int, ...], str, int, str]] = {
    "quanto": ((2, 4), "QuantoQuantizedLayer", 0, "optimum.quanto"),
    "hqq": ((1, 2, 3, 4, 8), "HQQQuantizedLayer", 1, "hqq"),
}


@dataclass(frozen=True)
class Quantised:
    """Keys and values in `amount` bits, by the library of this family."""

    amount: int
    family: str
    drops: bool = False

    @property
    def name(self) -> str:
        return f"{self.family}{self.amount}"

    def require_library(self) -> None:
        """Whether the library is installed.

        Raises:
            L2MError: it is not; with the extra that installs it.
        """
        require_module(self.name, LIBRARIES[self.family][3], self.family)

    def of(self, cache: Any) -> SmallerState:
        import torch

        from l2m_eval.history_state.smaller.layers import change_tensors, copied

        kept = 0

        def quantised(state: Tensor) -> Tensor:  # (B, H, T, D)
            nonlocal kept
            sequences = []
            for sequence in state.split(1):
                back, bits = self._there_and_back(sequence)
                sequences.append(back)
                kept += bits
            return torch.cat(sequences)

        def as_it_is(state: Tensor) -> Tensor:
            nonlocal kept
            kept += 8 * state.numel() * state.element_size()
            return state

        new = copied(cache)
        for layer in new.layers:
            change_tensors(layer, quantised, as_it_is, as_it_is)
        return SmallerState(new, kept)

    def _there_and_back(self, sequence: Tensor) -> tuple[Tensor, int]:
        """Keys or values of one sequence, (1, H, T, D), quantised and read back, and the bits in between."""
        if not sequence.numel():
            return sequence, 0
        if sequence.numel() % GROUP:
            raise L2MError(
                f"states: {self.name} keeps numbers in groups of {GROUP}, and a layer holds "
                f"{sequence.numel():,} of a text here; give lengths whose heads and tokens make whole groups"
            )
        _, layer_name, axis, _ = LIBRARIES[self.family]
        from transformers import cache_utils

        layer = getattr(cache_utils, layer_name)(
            nbits=self.amount, axis_key=axis, axis_value=axis, q_group_size=GROUP
        )
        layer.keys = sequence  # hqq takes device and precision from it
        kept = layer._quantize(sequence.contiguous(), axis)
        return layer._dequantize(kept).to(sequence.dtype), sum(_bits(part) for part in _parts(kept))


def _parts(kept: Any) -> list[Any]:
    """The tensors of what a library keeps: packed integers, scales, offsets."""
    if isinstance(kept, tuple):  # hqq
        packed, about = kept
        return [packed, about["scale"], about["zero"]]
    return [kept._data._data, kept._scale, kept._shift]


def _bits(tensor: Tensor) -> int:
    return 8 * tensor.numel() * tensor.element_size()
