"""Operations of a forward pass, counted from a configuration, against torch's own count of a real pass."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from l2m_eval.history_state import history_state_size
from l2m_eval.history_state.arithmetic import arithmetic_of
from l2m_eval.history_state.configuration import built_on_meta

SIZE = {
    "vocab_size": 200, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
FAMILIES = {
    "llama": SIZE,
    "gemma3_text": {**SIZE, "head_dim": 24},
    "gpt2": {"vocab_size": 200, "n_embd": 64, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0},
    "qwen3_moe": {**SIZE, **EXPERTS, "num_experts": 8, "head_dim": 16},
    "deepseek_v3": {
        **SIZE, **EXPERTS, "num_key_value_heads": 4, "n_routed_experts": 8, "n_group": 2, "topk_group": 1,
        "q_lora_rank": 24, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 12,
        "first_k_dense_replace": 1,
    },
}  # fmt: skip
# Layers with experts, whose products torch's counter does not know: two experts a token of three matrices each.
OF_EXPERTS = {"qwen3_moe": 3, "deepseek_v3": 2}


@pytest.mark.parametrize("family", FAMILIES)
def test_operations_are_those_of_a_forward_pass(family):
    config = AutoConfig.for_model(family, **FAMILIES[family])
    counted = arithmetic_of(config, built_on_meta(config, family), history_state_size(config, [64]))
    # Without fused attention every score of a pair is computed, also of those that are masked.
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    assert counted.parameters == sum(weight.numel() for weight in model.parameters())
    for length in (16, 32):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.randint(0, 200, (1, length)))
        experts = OF_EXPERTS.get(family, 0) * 2 * (3 * 64 * 32) * 2 * length
        assert counted.operations(length, length, length**2) == counter.get_total_flops() + experts
