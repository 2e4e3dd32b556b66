"""Tiny models of every architecture, and windows to score with them."""

import numpy as np
import torch
from tolerances import of_log_probabilities

from l2m_eval.scoring.windows import (
    Window,
    bipartite_cells,
    conditional_window,
    right_block_windows,
)

ROUNDING = of_log_probabilities(40)  # the longest windows here


def no_bar(_tokens):
    pass


def windows_of_many_shapes(vocabulary, seed=0, longest=40):
    rng = np.random.default_rng(seed)
    windows = []
    for _ in range(12):
        context = np.concatenate([[0], rng.integers(2, vocabulary, rng.integers(0, longest // 2))])
        target = rng.integers(2, vocabulary, rng.integers(1, longest - len(context)))
        cuts = {len(target), int(rng.integers(1, len(target) + 1))}
        windows.append(Window(context, target, tuple(sorted(cuts)), "random"))
    return sorted(windows, key=lambda w: -len(w))


def sums_of(scorer, windows):
    return [scored.sums for scored in scorer(windows, no_bar)]


ARCHITECTURES = {
    "llama": {"num_key_value_heads": 2},
    "gemma2": {"head_dim": 8, "num_key_value_heads": 2, "final_logit_softcapping": 3.0, "sliding_window": 8},
    "gemma3_text": {"head_dim": 8, "num_key_value_heads": 2, "sliding_window": 8},
    "cohere": {"logit_scale": 0.25, "num_key_value_heads": 2},
    "cohere2": {"logit_scale": 0.25, "num_key_value_heads": 2, "sliding_window": 8},
    "granite": {"logits_scaling": 4.0, "num_key_value_heads": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "gpt_neox": {},
    "phi": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 2},
    "mistral": {"sliding_window": 8, "num_key_value_heads": 2},
    "mamba": {"state_size": 4},
    "mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "expand": 2},
    "rwkv": {"attention_hidden_size": 32, "context_length": 128},
    "jamba": {"num_key_value_heads": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2,
              "use_mamba_kernels": False, "mamba_d_state": 4},
}  # fmt: skip


def build(family):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    common = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    config = AutoConfig.for_model(family, **{**common, **ARCHITECTURES[family]})
    return AutoModelForCausalLM.from_config(config).float().eval()


def bipartite_windows(documents, lengths, vocabulary):
    """All windows of the bipartite measurement with the default estimators, longest first."""
    rng = np.random.default_rng(8)
    texts = rng.integers(2, vocabulary, (documents, max(lengths)))
    cells = bipartite_cells(lengths, (2,))
    windows = []
    for number, text in enumerate(texts):
        windows += [
            conditional_window(text, cells, 0, "x"),
            *right_block_windows(None, text, cells, 0, "x"),
            *right_block_windows(text, texts[number ^ 1], cells, 0, "x"),
        ]
    return sorted(windows, key=lambda w: -len(w))
