"""dim z(L) of loaded models and of configurations alone: closed forms, storage, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from transformers.cache_utils import DynamicCache, StaticCache

from l2m_eval.errors import L2MError
from l2m_eval.history_state import configuration, history_state_size, state_growth
from l2m_eval.history_state.cache import read_cache, returned_state

LENGTHS = (1, 4, 8, 32)
# What transformers 4 does otherwise; each such case ends in one line, or in the size that it really keeps there.
OTHERWISE_IN_TRANSFORMERS_4 = {
    "deepseek_v3": "it keeps the expanded keys and values, not the latent",
    "jamba": "without compiled kernels it does not run",
    "falcon_h1": "it makes no cache of its own",
    "lfm2": "it allocates convolution states for the attention layers too",
    "gpt2": "its mask has the configured number of positions",
}


def skip_where_transformers_4_differs(family):
    if transformers.__version__.startswith("4.") and family in OTHERWISE_IN_TRANSFORMERS_4:
        pytest.skip(
            f"{family} in transformers {transformers.__version__}: {OTHERWISE_IN_TRANSFORMERS_4[family]}"
        )


@pytest.fixture
def llama(tiny):
    return tiny.tiny_model("llama")


# --- closed forms -----------------------------------------------------------------------------------------------


def closed_form(family, c, n):
    """What the papers of these architectures say, in terms of the configuration; window layers keep W - 1."""
    per_layer = 2 * getattr(c, "num_key_value_heads", 0) * (getattr(c, "head_dim", None) or 16)
    window = min(n, (getattr(c, "sliding_window", None) or 1) - 1)
    types = getattr(c, "layer_types", None) or getattr(c, "layers_block_type", None) or []
    full = types.count("full_attention")
    if family in ("llama", "qwen3", "mixtral"):
        return c.num_hidden_layers * per_layer * n
    if family == "mistral":
        return c.num_hidden_layers * per_layer * window
    if family in ("gemma2", "gemma3_text", "gpt_oss", "cohere2"):
        return per_layer * (full * n + types.count("sliding_attention") * window)
    if family == "deepseek_v3":
        return c.num_hidden_layers * (c.kv_lora_rank + c.qk_rope_head_dim) * n
    if family in ("mamba", "falcon_mamba"):
        return c.num_hidden_layers * c.intermediate_size * (c.state_size + c.conv_kernel)
    if family == "mamba2":
        inner = c.num_heads * c.head_dim
        return c.num_hidden_layers * (
            inner * c.state_size + (inner + 2 * c.n_groups * c.state_size) * c.conv_kernel
        )
    if family == "rwkv":
        return c.num_hidden_layers * (2 * c.hidden_size + 3 * c.attention_hidden_size)
    if family == "jamba":
        attention = sum(kind == "full_attention" for kind in c.layer_types)
        inner = c.mamba_expand * c.hidden_size
        fixed = inner * (c.mamba_d_state + c.mamba_d_conv)
        return attention * per_layer * n + (c.num_hidden_layers - attention) * fixed
    if family == "qwen3_next":
        keys = c.linear_num_key_heads * c.linear_key_head_dim
        values = c.linear_num_value_heads * c.linear_value_head_dim
        fixed = (2 * keys + values) * c.linear_conv_kernel_dim + values * c.linear_key_head_dim
        return full * per_layer * n + types.count("linear_attention") * fixed
    if family == "lfm2":
        return full * per_layer * n + types.count("conv") * c.hidden_size * c.conv_L_cache
    if family == "falcon_h1":
        inner = c.mamba_n_heads * c.mamba_d_head
        conv = (inner + 2 * c.mamba_n_groups * c.mamba_d_state) * c.mamba_d_conv
        return c.num_hidden_layers * (per_layer * n + inner * c.mamba_d_state + conv)
    assert family == "minimax"
    return full * per_layer * n + types.count("linear_attention") * c.num_attention_heads * 16**2


FAMILIES = (
    "llama qwen3 mixtral mistral gemma2 gemma3_text gpt_oss cohere2 deepseek_v3 mamba falcon_mamba mamba2 rwkv jamba "
    "qwen3_next lfm2 falcon_h1 minimax"
)


@pytest.mark.parametrize("family", FAMILIES.split())
def test_main_families_follow_their_closed_form(tiny, family, monkeypatch):
    skip_where_transformers_4_differs(family)
    monkeypatch.setattr(configuration, "OPERATION_BUDGET", 8_000)  # the models are tiny
    config = tiny.tiny_config(family)
    state = history_state_size(config, LENGTHS)
    assert state.total.tolist() == [closed_form(family, config, n) for n in LENGTHS]


def test_llama_405b_is_exact_and_needs_no_weights():
    config = transformers.LlamaConfig(
        hidden_size=16384, intermediate_size=53248, num_hidden_layers=126, num_attention_heads=128,
        num_key_value_heads=8, vocab_size=128256, max_position_embeddings=131072, dtype="bfloat16",
    )  # fmt: skip
    lengths = [2, 64, 2048, 100_003]
    state = history_state_size(config, lengths)
    assert state.total.tolist() == [2 * 126 * 8 * 128 * n for n in lengths]
    assert state.bytes.tolist() == [[2.0 * z for z in state.total]]
    assert len(state.layers) == 126


def test_deepseek_v3_keeps_one_latent_of_576_per_token_and_layer():
    skip_where_transformers_4_differs("deepseek_v3")
    state = history_state_size(transformers.DeepseekV3Config(), [1, 2048])
    assert state.kinds == ("compressed latent",)
    assert state.total.tolist() == [61 * 576, 61 * 576 * 2048]


def test_a_fixed_state_is_known_at_lengths_no_loop_over_tokens_reaches(tiny):
    state = history_state_size(tiny.tiny_config("mamba"), [4, 2**20])
    assert state.total[0] == state.total[1]
    assert any("continue the straight line" in note for note in state.notes)


# --- storage ----------------------------------------------------------------------------------------------------


def test_the_batch_does_not_count(llama):
    sizes = {}
    for batch in (1, 3):
        with torch.no_grad():
            output = llama(input_ids=torch.full((batch, 9), 5), use_cache=True)
        sizes[batch] = read_cache(returned_state(output), batch_size=batch, config=llama.config)
    assert sizes[1] == sizes[3]


def test_a_batch_that_does_not_divide_the_state_is_refused(llama):
    with torch.no_grad():
        output = llama(input_ids=torch.full((1, 9), 5), use_cache=True)
    with pytest.raises(L2MError, match="batch_size: 7"):
        read_cache(returned_state(output), batch_size=7)


def test_bits_follow_the_precision_and_elements_do_not(llama):
    single = history_state_size(llama, LENGTHS)
    half = history_state_size(llama.to(torch.bfloat16), LENGTHS)
    assert single.elements.tolist() == half.elements.tolist()
    assert (single.bits == 32 * single.elements).all()
    assert (half.bits == 16 * half.elements).all()


def test_single_precision_states_of_a_half_precision_model_count_as_such(tiny):
    config = tiny.tiny_config("qwen3_next")
    config.dtype = torch.bfloat16
    state = history_state_size(config, LENGTHS)
    per_element = dict(zip(state.kinds, state.bits[:, -1] / state.elements[:, -1], strict=True))
    assert per_element == {"attention": 16, "recurrent": 32, "convolution": 16}


def test_offloaded_and_preallocated_caches_hold_as_much_as_any(llama):
    plain = history_state_size(llama, LENGTHS)
    static = history_state_size(
        llama, LENGTHS, make_cache=lambda: StaticCache(llama.config, max_cache_len=256)
    )
    assert static.elements.tolist() == plain.elements.tolist()
    with torch.no_grad():
        cache = returned_state(llama(input_ids=torch.full((1, 9), 5), use_cache=True))
    before = read_cache(cache)
    for layer in cache.layers:
        layer.offload()
    assert read_cache(cache) == before


def test_a_quantised_cache_has_as_many_elements_in_fewer_bits(llama):
    eight_bit_floats = getattr(transformers.cache_utils, "Fp8QuantizedLayer", None)
    if eight_bit_floats is None:
        pytest.skip(f"transformers {transformers.__version__} has no cache layer of 8-bit floats")

    def quantised():
        cache = DynamicCache()
        cache.layer_class_to_replicate = eight_bit_floats
        return cache

    plain = history_state_size(llama, LENGTHS)
    state = history_state_size(llama, LENGTHS, make_cache=quantised)
    assert state.elements.tolist() == plain.elements.tolist()
    scales = 2 * 32 * llama.config.num_hidden_layers  # one single-precision scale for keys and one for values
    assert (state.bits[0, -1] - 8 * state.elements[0, -1]) == scales


def test_keys_that_are_the_values_too_count_once():
    layer = transformers.cache_utils.DynamicLayer()
    keys = torch.zeros(1, 2, 5, 3)
    layer.keys = layer.values = keys
    cache = DynamicCache()
    cache.layers = [layer]
    assert [t.elements for t in read_cache(cache)] == [30]


def test_the_model_is_left_in_the_mode_it_was_in(llama):
    history_state_size(llama.train(), [4])
    assert llama.training


# --- loaded models ----------------------------------------------------------------------------------------------


def test_a_loaded_model_answers_for_lengths_beyond_its_positions(tiny):
    skip_where_transformers_4_differs("gpt2")
    model = tiny.tiny_model("gpt2")  # 512 learned positions
    state = history_state_size(model, [16, 4096])
    assert state.source == "measured on the model's own cache"
    assert state.total.tolist() == [4 * 2 * 64 * 16, 4 * 2 * 64 * 4096]
    assert any("measured at 16 tokens" in note for note in state.notes)


def test_state_hidden_in_modules_beside_a_returned_cache_is_refused(llama):
    layer = llama.model.layers[1]

    def remember(module, args, output):
        module.memory = torch.ones(3)

    layer.register_forward_hook(remember)
    with pytest.raises(L2MError, match=r"keeps state inside its modules \(model\.layers\.1\.memory\)"):
        history_state_size(llama, [4])


def test_a_trained_transformer_grows_like_its_context(real_models):
    lengths = [2**k for k in range(1, 12)]
    model = transformers.AutoModelForCausalLM.from_pretrained(real_models / "books-llama-5m")
    state = history_state_size(model, lengths)
    growth = state_growth(state)
    assert state.source == "measured on the model's own cache"
    assert (growth.asymptotic_exponent, growth.constant_part, growth.saturation_length) == (1.0, 0.0, None)
    assert growth.exponent == pytest.approx(1.0, abs=1e-9)


def test_a_trained_model_with_a_window_saturates_one_token_below_it(real_models):
    lengths = [2**k for k in range(1, 12)]
    model = transformers.AutoModelForCausalLM.from_pretrained(real_models / "books-swa64-5m")
    state = history_state_size(model, lengths)
    growth = state_growth(state)
    assert state.kinds == ("sliding window",)
    assert growth.saturation_length == 63
    assert growth.asymptotic_exponent == 0.0
    assert state.total[-1] == 63 * state.total[0] // 2
    from_configuration = history_state_size(str(real_models / "books-swa64-5m"), lengths)
    assert from_configuration.elements.tolist() == state.elements.tolist()


# --- configurations ---------------------------------------------------------------------------------------------


def test_a_configuration_is_the_same_as_object_folder_file_and_mapping(tiny, tmp_path):
    config = tiny.tiny_config("gemma2")
    config.save_pretrained(tmp_path)
    renamed = tmp_path / "gemma.json"
    renamed.write_text((tmp_path / "config.json").read_text())
    settings = json.loads(renamed.read_text())
    states = [
        history_state_size(source, LENGTHS)
        for source in (config, tmp_path, str(tmp_path / "config.json"), str(renamed), settings)
    ]
    assert len({str(state.elements.tolist()) for state in states}) == 1


def test_a_quantisation_of_the_weights_changes_nothing(tiny):
    config = tiny.tiny_config("llama")
    plain = history_state_size(config, LENGTHS)
    config.quantization_config = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    assert history_state_size(config, LENGTHS).bits.tolist() == plain.bits.tolist()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is not a JSON configuration"),
        ("[1]", "has no model_type"),
        ("{}", "has no model_type"),
        ('{"model_type": "no-such-architecture"}', "upgrade transformers, or declare"),
        ('{"model_type": "bert"}', "returns no history state"),
        ('{"model_type": "t5"}', "is an encoder–decoder"),
    ],
)
def test_what_is_no_configuration_of_a_causal_model_is_refused(tmp_path, content, complaint):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(L2MError, match=complaint) as error:
        history_state_size(tmp_path, LENGTHS)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_configuration_and_a_path_that_is_none(tmp_path):
    with pytest.raises(L2MError, match=r"has no config\.json"):
        history_state_size(tmp_path, LENGTHS)
    with pytest.raises(L2MError, match="does not exist"):
        history_state_size(str(tmp_path / "nowhere"), LENGTHS)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(L2MError, match="name its base model"):
        history_state_size(tmp_path, LENGTHS)


@pytest.mark.parametrize("lengths", [[], [0], [-4], [1.5], [True], ["8"], [2**41], [float("nan")]])
def test_lengths_are_whole_numbers_of_tokens(tiny, lengths):
    with pytest.raises(L2MError, match="lengths"):
        history_state_size(tiny.tiny_config("llama"), lengths)


def test_lengths_come_back_increasing_and_once(tiny):
    state = history_state_size(tiny.tiny_config("llama"), np.array([8, 2, 8]))
    assert state.lengths.tolist() == [2, 8]
