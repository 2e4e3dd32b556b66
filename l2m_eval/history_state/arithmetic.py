"""What a model computes and holds for each token that it reads, counted from its configuration.

Counted are products of matrices, two operations for each multiplication and addition, as is usual (Kaplan et al.
2020, arXiv 2001.08361, section 2.1): every weight once for each token, the head for the tokens that are predicted,
and attention for each pair of tokens. The scans of recurrent layers, norms and activations are a few percent more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from l2m_eval.history_state.released import decoder_part, dtype_of
from l2m_eval.history_state.state import ATTENTION, COMPRESSED_LATENT, SLIDING_WINDOW, HistoryState

# Names that configurations have for the number of experts, and for how many of them read a token.
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "top_k_experts")


@dataclass(frozen=True)
class Arithmetic:
    """Operations and weights of one model.

    Attributes:
        parameters: Weights in all.
        weight_bytes: Bytes of these in the precision that the configuration names, 16 bits where it names none.
        per_token: Operations for each token that is read, attention apart.
        per_prediction: Operations of the head for each token that is predicted.
        per_pair: Operations of attention for each pair of tokens of which one sees the other, all layers together.
        vocabulary: Tokens that are predicted.
    """

    parameters: int
    weight_bytes: int
    per_token: float
    per_prediction: int
    per_pair: int
    vocabulary: int

    def operations(self, read: int, predicted: int, pairs: int) -> float:
        """Operations for tokens that are read and predicted, and pairs of tokens that see each other.

        Layers with a window are counted as if they saw everything: the result is an upper bound for them.
        """
        return self.per_token * read + self.per_prediction * predicted + float(self.per_pair) * pairs


def arithmetic_of(config: Any, model: Any, state: HistoryState) -> Arithmetic:
    """What a model computes.

    Args:
        config: Its configuration.
        model: The model that this configures, without weights (see `built_on_meta`) or with them.
        state: Its history state, which says what its layers are.
    """
    text, stored = decoder_part(config), dtype_of(config)
    # A row of a table is looked up, not multiplied.
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    embeddings = getattr(model.get_input_embeddings(), "weight", None)
    head = getattr(model.get_output_embeddings(), "weight", embeddings)
    used = _share_of_experts(text)
    per_token = 2.0 * sum(
        weight.numel() * (used if ".experts." in name else 1.0)
        for name, weight in model.named_parameters()
        if weight.ndim > 1 and id(weight) not in tables and weight is not head
    )
    parameters = sum(weight.numel() for weight in model.parameters())
    return Arithmetic(
        parameters,
        parameters * (2 if stored is None else stored.itemsize),
        per_token,
        0 if head is None else 2 * head.numel(),
        sum(_per_pair(text, state)),
        0 if head is None else int(head.shape[0]),
    )


def _share_of_experts(config: Any) -> float:
    """The share of experts that read a token; 1 where there are none."""
    experts, chosen = _first(config, _EXPERTS), _first(config, _CHOSEN)
    return chosen / experts if experts and chosen else 1.0


def _per_pair(config: Any, state: HistoryState) -> Iterator[int]:
    """Of each layer with attention: one product for the score of a pair and one for its value, over all heads."""
    heads = _first(config, ("num_attention_heads", "n_head", "n_heads")) or 0
    width = _first(config, ("hidden_size", "n_embd", "d_model")) or 0
    own = _first(config, ("head_dim",)) or (width // heads if heads else 0)
    latent = _first(config, ("qk_nope_head_dim",))
    score = latent + (_first(config, ("qk_rope_head_dim",)) or 0) if latent else own
    value = _first(config, ("v_head_dim",)) or own
    for layer in {
        one.layer for one in state.layers if one.kind in (ATTENTION, SLIDING_WINDOW, COMPRESSED_LATENT)
    }:
        yield 2 * heads * (score + value) if layer is not None else 0


def _first(config: Any, names: tuple[str, ...]) -> int | None:
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
