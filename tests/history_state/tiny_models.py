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
        "hidden_size d_model n_embd dim embed_dim word_embed_proj_dim attention_hidden_size n_embed "
        "cross_attention_hidden_size embedding_size lru_width emb_dim".split(),
        WIDTH,
    ),
    **dict.fromkeys(
        "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads "
        "num_decoder_attention_heads num_encoder_attention_heads linear_num_value_heads swa_num_attention_heads "
        "global_num_attention_heads local_num_attention_heads".split(),
        HEADS,
    ),
    **dict.fromkeys(
        "num_key_value_heads num_global_key_value_heads n_head_kv num_kv_heads swa_num_key_value_heads "
        "linear_num_key_heads".split(),
        KV_HEADS,
    ),
    **dict.fromkeys(
        "head_dim d_kv global_head_dim attention_head_dim swa_head_dim linear_key_head_dim linear_value_head_dim "
        "swa_v_head_dim v_head_dim_mha d_head index_head_dim".split(),
        HEAD_DIM,
    ),
    **dict.fromkeys(
        "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers "
        "num_encoder_layers".split(),
        LAYERS,
    ),
    **dict.fromkeys(
        "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim n_inner d_inner ffn_hidden_size d_ff "
        "moe_intermediate_size shared_expert_intermediate_size intermediate_size_mlp mlp_hidden_size "
        "shared_intermediate_size expert_ffn_hidden_size dff dim_ff feed_forward_hidden_size inner_dim "
        "moe_shared_expert_intermediate_size block_ff_dim conv_dim attention_hidden_size".split(),
        WIDTH,
    ),
    **dict.fromkeys(
        "vocab_size vocab_size_per_layer_input n_vocab n_tokens decoder_vocab_size".split(), VOCABULARY
    ),
    **dict.fromkeys(
        "num_experts num_local_experts n_routed_experts moe_num_experts num_moe_experts".split(), 4
    ),
    **dict.fromkeys(
        "num_experts_per_tok num_experts_per_token moe_top_k moe_k top_k experts_per_token moe_topk".split(), 2
    ),
    **dict.fromkeys("n_group topk_group n_shared_experts num_shared_experts".split(), 1),
    **dict.fromkeys(
        "sliding_window attention_chunk_size attention_window_size sliding_window_size local_attention".split(),
        WINDOW,
    ),
    **dict.fromkeys("q_lora_rank kv_lora_rank o_lora_rank".split(), 24),
    **dict.fromkeys("qk_rope_head_dim qk_nope_head_dim v_head_dim rotary_dim".split(), 8),
    "qk_head_dim": 16,
    **dict.fromkeys("mamba_n_heads mamba_num_heads n_mamba_heads".split(), 8),
    **dict.fromkeys("mamba_d_head mamba_head_dim mamba_headdim".split(), 16),
    **dict.fromkeys("mamba_d_state mamba_n_state ssm_state_size state_size".split(), 8),
    **dict.fromkeys("mamba_n_groups n_groups mamba_ngroups".split(), 1),
    **dict.fromkeys("mamba_d_ssm mamba_intermediate_size".split(), 128),
    **dict.fromkeys("time_step_rank mamba_dt_rank".split(), 4),
    **dict.fromkeys("chunk_size mamba_chunk_size".split(), 16),
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 1,
    "laurel_rank": 8,
    "altup_num_inputs": 2,
    "block_size": 16,
    "max_position_embeddings": 512,
    "n_positions": 512,
    "max_seq_len": 512,
    "context_length": 512,
}

# Lists with one entry per layer are cut to the number of layers; these families need more than cutting.
PARTICULAR: dict[str, dict[str, Any]] = {}


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
    return config


def _shrink(settings: dict[str, Any]) -> dict[str, Any]:
    layers = next(
        (settings[n] for n in ("num_hidden_layers", "n_layer", "n_layers", "num_layers") if settings.get(n)), None
    )
    small: dict[str, Any] = {}
    for name, value in settings.items():
        if name in ("transformers_version", "architectures", "dtype", "torch_dtype"):
            continue
        if isinstance(value, dict):
            small[name] = _shrink(value)
        elif isinstance(value, list) and layers is not None and len(value) == layers:
            small[name] = value[: LAYERS - 1] + value[-1:]
        elif name in TINY and value is not None and not isinstance(value, (list, bool)):
            small[name] = TINY[name]
        elif isinstance(name, str) and name.endswith("_token_id") and isinstance(value, int) and value >= VOCABULARY:
            small[name] = VOCABULARY - 1
        else:
            small[name] = value
    return small


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
