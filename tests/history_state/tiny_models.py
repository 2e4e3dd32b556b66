"""Tiny random models of every causal-LM family that the installed transformers can build.

A family's default configuration is shrunk field by field: the fields have the same names in most families, and
the few that need something particular are listed in `PARTICULAR`. Used by the tests and by the generator of
``docs/history_state.md``; nothing of it ships with the package.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

WIDTH, HEADS, KV_HEADS, HEAD_DIM, LAYERS, VOCABULARY, WINDOW = 64, 4, 2, 16, 4, 128, 8

# Field name -> tiny value. Only fields that a configuration already has (and that are not None) are set.
TINY: dict[str, Any] = {
    **dict.fromkeys(
        [
            "hidden_size",
            "d_model",
            "n_embd",
            "dim",
            "embed_dim",
            "word_embed_proj_dim",
            "attention_hidden_size",
            "n_embed",
            "cross_attention_hidden_size",
            "embedding_size",
            "lru_width",
            "emb_dim",
        ],
        WIDTH,
    ),
    **dict.fromkeys(
        [
            "num_attention_heads",
            "n_head",
            "n_heads",
            "num_heads",
            "decoder_attention_heads",
            "encoder_attention_heads",
            "num_decoder_attention_heads",
            "num_encoder_attention_heads",
            "linear_num_value_heads",
            "swa_num_attention_heads",
            "global_num_attention_heads",
            "local_num_attention_heads",
        ],
        HEADS,
    ),
    **dict.fromkeys(
        [
            "num_key_value_heads",
            "num_global_key_value_heads",
            "n_head_kv",
            "num_kv_heads",
            "swa_num_key_value_heads",
            "linear_num_key_heads",
        ],
        KV_HEADS,
    ),
    **dict.fromkeys(
        [
            "head_dim",
            "d_kv",
            "global_head_dim",
            "attention_head_dim",
            "swa_head_dim",
            "linear_key_head_dim",
            "linear_value_head_dim",
            "swa_v_head_dim",
            "v_head_dim_mha",
            "d_head",
            "index_head_dim",
        ],
        HEAD_DIM,
    ),
    **dict.fromkeys(
        [
            "num_hidden_layers",
            "n_layer",
            "n_layers",
            "num_layers",
            "decoder_layers",
            "encoder_layers",
            "num_decoder_layers",
            "num_encoder_layers",
        ],
        LAYERS,
    ),
    **dict.fromkeys(
        [
            "intermediate_size",
            "ffn_dim",
            "decoder_ffn_dim",
            "encoder_ffn_dim",
            "n_inner",
            "d_inner",
            "ffn_hidden_size",
            "d_ff",
            "moe_intermediate_size",
            "shared_expert_intermediate_size",
            "intermediate_size_mlp",
            "mlp_hidden_size",
            "shared_intermediate_size",
            "expert_ffn_hidden_size",
            "dff",
            "dim_ff",
            "feed_forward_hidden_size",
            "inner_dim",
            "moe_shared_expert_intermediate_size",
            "block_ff_dim",
            "conv_dim",
            "attention_hidden_size",
        ],
        WIDTH,
    ),
    **dict.fromkeys(
        ["vocab_size", "vocab_size_per_layer_input", "n_vocab", "n_tokens", "decoder_vocab_size"], VOCABULARY
    ),
    **dict.fromkeys(
        ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts"], 4
    ),
    **dict.fromkeys(
        [
            "num_experts_per_tok",
            "num_experts_per_token",
            "moe_top_k",
            "moe_k",
            "top_k",
            "experts_per_token",
            "moe_topk",
        ],
        2,
    ),
    **dict.fromkeys(["n_group", "topk_group", "n_shared_experts", "num_shared_experts"], 1),
    **dict.fromkeys(
        [
            "sliding_window",
            "attention_chunk_size",
            "attention_window_size",
            "sliding_window_size",
            "local_attention",
        ],
        WINDOW,
    ),
    **dict.fromkeys(["q_lora_rank", "kv_lora_rank", "o_lora_rank"], 24),
    **dict.fromkeys(["qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "rotary_dim"], 8),
    "qk_head_dim": 16,
    **dict.fromkeys(["mamba_n_heads", "mamba_num_heads", "n_mamba_heads"], 8),
    **dict.fromkeys(["mamba_d_head", "mamba_head_dim", "mamba_headdim"], 16),
    **dict.fromkeys(["mamba_d_state", "mamba_n_state", "ssm_state_size", "state_size"], 8),
    **dict.fromkeys(["mamba_n_groups", "n_groups", "mamba_ngroups"], 1),
    **dict.fromkeys(["mamba_d_ssm", "mamba_intermediate_size"], 128),
    **dict.fromkeys(["time_step_rank", "mamba_dt_rank"], 4),
    **dict.fromkeys(["chunk_size", "mamba_chunk_size"], 16),
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 0,
    "laurel_rank": 8,
    "altup_num_inputs": 2,
    "block_size": 16,
    "max_position_embeddings": 512,
    "n_positions": 512,
    "max_seq_len": 512,
    "context_length": 512,
}

# Fields that index layers of the full-size model.
DROPPED = (
    "transformers_version",
    "architectures",
    "dtype",
    "torch_dtype",
    "per_layer_config",
    "full_attn_idxs",
)

_HYBRID = {"layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"]}
# What shrinking field by field does not get right.
PARTICULAR: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"num_expert_group": 1, "num_experts": 4},
    "bamba": {"attn_layer_indices": [2]},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "falcon": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "gemma3n_text": {
        "num_kv_shared_layers": 2,
        "num_hidden_layers": 6,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
        "intermediate_size": [64] * 6,
        "activation_sparsity_pattern": [0.0] * 6,
    },
    "granitemoehybrid": _HYBRID,
    "hrm_text": {"num_layers_per_stack": 1, "num_hidden_layers": 8},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16, "num_experts_per_tok": 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"], "num_dense_layers": 2},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "ministral": {"head_dim": 16},
    "nemotron": {"num_key_value_heads": 2},
    "reformer": {
        "axial_pos_embds": False,
        "hidden_size": 64,
        "attention_head_size": 16,
        "feed_forward_size": 64,
    },
    "roc_bert": {"pronunciation_vocab_size": 16, "shape_vocab_size": 16},
    "xlstm": {
        "embedding_dim": 64,
        "hidden_size": 64,
        "qk_dim_factor": 1.0,
        "num_blocks": 4,
        "num_hidden_layers": 4,
        "num_heads": 4,
    },
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
    "zamba": {
        "num_hidden_layers": 6,
        "layers_block_type": [
            "linear_attention",
            "linear_attention",
            "hybrid",
            "linear_attention",
            "linear_attention",
            "hybrid",
        ],
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
        "num_key_value_heads": 4,
        "n_mamba_heads": 2,
    },
    "zamba2": {
        "num_key_value_heads": 4,
        "attention_head_dim": 32,
        "attention_hidden_size": 128,
        "adapter_rank": 8,
        "n_mamba_heads": 8,
        "mamba_headdim": 16,
        "num_hidden_layers": 6,
        "hybrid_layer_ids": [2, 5],
        "layers_block_type": [
            "linear_attention",
            "linear_attention",
            "hybrid",
            "linear_attention",
            "linear_attention",
            "hybrid",
        ],
    },
    "zaya": {"num_experts_per_tok": 1},
}


def tiny_config(family: str) -> Any:
    """The family's configuration shrunk to a few ten thousand parameters, set up as a causal decoder."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config_class = CONFIG_MAPPING[family]
    settings = _shrink(config_class().to_dict())
    _update(settings, PARTICULAR.get(family, {}))
    config = config_class(**settings)
    for part in (config, config.get_text_config(decoder=True)):
        if hasattr(part, "is_decoder"):
            part.is_decoder = True
    config.is_encoder_decoder = False  # the decoder of an encoder–decoder alone is a causal model
    return config


def _shrink(settings: dict[str, Any]) -> dict[str, Any]:
    layers = next(
        (settings[n] for n in ("num_hidden_layers", "n_layer", "n_layers", "num_layers") if settings.get(n)),
        None,
    )
    kept = _one_of_each(
        settings.get("layer_types") or settings.get("layers_block_type") or [None] * (layers or 0)
    )
    small: dict[str, Any] = {}
    for name, value in settings.items():
        if name in DROPPED:
            continue
        if isinstance(value, dict):
            small[name] = _shrink(value)
        elif isinstance(value, list) and layers is not None and len(value) == layers:
            small[name] = [value[i] for i in kept]
        elif name in TINY and value is not None and not isinstance(value, (list, bool)):
            small[name] = TINY[name]
        elif (
            isinstance(name, str)
            and name.endswith("_token_id")
            and isinstance(value, int)
            and value >= VOCABULARY
        ):
            small[name] = VOCABULARY - 1
        else:
            small[name] = value
    if (
        "qk_rope_head_dim" in small
    ):  # latent attention: every head has its own key; head_dim sizes the rotary part
        small |= {n: HEADS for n in ("num_key_value_heads",) if n in small}
        small |= {n: small["qk_rope_head_dim"] for n in ("head_dim",) if n in small}
    return small


def _one_of_each(types: list[Any]) -> list[int]:
    """Indices of as many layers as a tiny model has, with one of every type among them, in order."""
    firsts = [types.index(kind) for kind in dict.fromkeys(types)]
    others = [i for i in range(len(types)) if i not in firsts]
    return sorted((firsts + others)[: max(LAYERS, len(firsts))])


def _update(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(settings.get(name), dict):
            _update(settings[name], value)
        else:
            settings[name] = value


def tiny_model(family: str, config: Any = None) -> Any:
    """A random model of the family on the CPU, float32, seeded."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = copy.deepcopy(config) if config is not None else tiny_config(family)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with contextlib.suppress(Exception):
        model.generation_config.cache_implementation = None
    return model
