"""Configurations as models are released: exact sizes, notes for what is assumed, one sentence for what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from l2m_eval.errors import L2MError
from l2m_eval.history_state import configuration, history_state_size, state_growth
from l2m_eval.history_state.alike import alike_layers
from l2m_eval.history_state.named import named_history_state
from l2m_eval.history_state.released import load_configuration

LENGTHS = [1024, 8192, 131072]
TINY = {
    "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 64, "vocab_size": 128, "max_position_embeddings": 512,
}  # fmt: skip
SHARED = Path(os.environ.get("L2M_SHARED", Path(__file__).parents[2].parent / "shared")) / "model_configs"
# Their code comes with them and is not here; the message says how to allow it.
REMOTE_CODE = {"rwkv7-1.5B-world"}
# A minute of the suite is not spent on all; these have a kind of layer each, or once ended in a refusal.
QUICK = (
    "AI21-Jamba-1.5-Mini", "Phi-3.5-mini-instruct", "Ministral-8B-Instruct-2410", "XiaomiMiMo--MiMo-7B-Base",
    "Qwen2.5-VL-7B-Instruct", "falcon-40b", "mamba2-2.7b", "mpt-7b", "whisper-tiny", "rwkv7-1.5B-world",
)  # fmt: skip

released = pytest.mark.skipif(
    not (SHARED / "truth.json").is_file(),
    reason=f"no configurations of released models at {SHARED}; set L2M_SHARED to the folder that holds model_configs",
)


def truth_of(model):
    truth = json.loads((SHARED / "truth.json").read_text())[model]
    return truth and [truth[str(n)] for n in LENGTHS]


def answered(model):
    """The sizes; or, where there is no answer, the sentence that says what to do."""
    try:
        return named_history_state(str(SHARED / f"{model}.json"), LENGTHS).total.tolist()
    except L2MError as error:
        return str(error)


def check_released(model):
    truth, answer = truth_of(model), answered(model)
    if isinstance(answer, str):
        assert truth is None or model in REMOTE_CODE
        assert "declare the size" in answer or "give" in answer
        assert "…" not in answer
    else:
        assert truth is None or answer == truth


@released
@pytest.mark.parametrize("model", QUICK)
def test_a_released_configuration_gives_its_closed_form(model):
    check_released(model)


@released
@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [p.stem for p in sorted(SHARED.glob("*.json")) if p.stem not in (*QUICK, "truth")]
)
def test_every_other_released_configuration_gives_its_closed_form(model):
    check_released(model)


@pytest.fixture(scope="module")
def compressed():
    """A model whose layers keep a window, and an entry for every few tokens."""
    return transformers.DeepseekV4Config(num_hidden_layers=6)


# --- each kind on small configurations --------------------------------------------------------------------------


def llama(**changes):
    return {"model_type": "llama", "dtype": "bfloat16", **TINY, **changes}


def test_a_table_for_long_rotary_positions_is_no_state():
    longrope = {
        "rope_type": "longrope",
        "short_factor": [1.0] * 8,
        "long_factor": [2.0] * 8,
        "rope_theta": 1e4,
    }
    longrope["original_max_position_embeddings"] = 64
    settings = {
        **TINY, "model_type": "phi3", "pad_token_id": 0, "rope_scaling": longrope,
        "original_max_position_embeddings": 64, "num_key_value_heads": 2,
    }  # fmt: skip
    config = transformers.AutoConfig.for_model(**settings)
    expected = [2 * 6 * 2 * 16 * n for n in (8, 128)]
    assert history_state_size(config, [8, 128]).total.tolist() == expected
    model = transformers.AutoModelForCausalLM.from_config(config)
    for _ in range(2):  # the first answer is as good as the second
        assert history_state_size(model, [8, 128]).total.tolist() == expected


def test_a_window_that_the_context_never_fills_does_not_saturate():
    for window, gamma, beyond in ((512, 1.0, 0.0), (4096, 1.0, 0.0), (64, 0.0, None)):
        settings = {**TINY, "model_type": "mistral", "sliding_window": window}
        growth = state_growth(history_state_size(settings, [16, 256]))
        assert (growth.asymptotic_exponent, growth.beyond_context) == (gamma, beyond)
        assert growth.saturation_length == (63 if window == 64 else None)
    assert growth.constant_part == 63 * 2 * 6 * 2 * 16


def test_the_growth_within_the_context_is_that_of_the_layers():
    settings = {**TINY, "model_type": "mistral", "sliding_window": 512}
    growth = state_growth(history_state_size(settings, [16]))
    assert (growth.slope_per_token, growth.constant_part) == (2 * 6 * 2 * 16, 0.0)
    assert "within its context of 512 tokens; beyond that it would stop growing" in growth.sentence


@pytest.mark.slow
def test_growth_does_not_depend_on_the_lengths_asked_for(compressed):
    usual = state_growth(history_state_size(compressed, [1024]))
    growth = state_growth(history_state_size(compressed, [1000, 1_000_003, 1_000_006]))
    assert growth.asymptotic_exponent == 1.0
    assert growth.slope_per_token == usual.slope_per_token
    assert growth.constant_part == usual.constant_part


def test_keys_that_are_the_values_are_counted_once(compressed):
    """DeepSeek-V4 gives its cache one tensor for both; in layers without compression nothing else is kept."""
    state = history_state_size(compressed, [8])
    window = [layer for layer in state.layers if layer.kind == "sliding window"]
    assert {layer.elements_per_token for layer in window} == {compressed.head_dim}


def test_copies_of_heads_hold_no_information():
    settings = {
        "model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 5, "num_attention_heads": 8,
        "num_kv_heads": 2, "new_decoder_architecture": True, "vocab_size": 128,
    }  # fmt: skip
    distinct = [2 * 5 * 2 * 8 * n for n in (1, 16)]
    alone = history_state_size(settings, [1, 16])
    config = transformers.AutoConfig.for_model(**settings)
    live = history_state_size(transformers.AutoModelForCausalLM.from_config(config), [1, 16])
    assert alone.total.tolist() == live.total.tolist() == distinct
    assert any(f"allocates {4 * distinct[0]:,} elements" in note for note in alone.notes)


@pytest.mark.parametrize(
    "scheme",
    [{"kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False}}, {"kv_cache_quant_algo": "FP8"}],
)
def test_a_declared_cache_of_eight_bits_counts_eight_bits(scheme):
    plain = history_state_size(llama(), [16])
    eight = history_state_size(
        llama(quantization_config={"quant_method": "compressed-tensors", **scheme}), [16]
    )
    assert eight.total.tolist() == plain.total.tolist()
    assert eight.total_bits.tolist() == [8 * n for n in plain.total]
    assert {layer.dtype for layer in eight.layers} == {"8 bits"}
    assert any("declares a cache of 8 bits" in note for note in eight.notes)


def test_sizes_that_a_configuration_leaves_out_are_named():
    state = history_state_size({"model_type": "llama"}, [16])
    note = next(note for note in state.notes if "leaves out sizes" in note)
    assert {"hidden_size = 4,096", "num_hidden_layers = 32"} <= set(
        note.partition("assumed: ")[2].split(", ")
    )
    assert not any("leaves out" in note for note in history_state_size(llama(), [16]).notes)


def test_a_vision_language_configuration_counts_its_text_model():
    text = {**TINY, "model_type": "llama"}
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    settings = {
        "model_type": "llava",
        "text_config": text,
        "vision_config": {"model_type": "clip_vision_model", **vision},
    }
    state = history_state_size(settings, [16])
    assert state.total.tolist() == [2 * 6 * 2 * 16 * 16]
    assert any("an image counts as the tokens that it becomes" in note for note in state.notes)


def test_the_original_state_space_configurations_are_recognised(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(
        json.dumps({"d_model": 64, "n_layer": 5, "vocab_size": 128, "ssm_cfg": {"layer": "Mamba2"}})
    )
    inner, state, kernel = 128, 128, 4
    second = 5 * (inner * state + (inner + 2 * state) * kernel)
    assert named_history_state(str(file), [16]).total.tolist() == [second]
    file.write_text(json.dumps({"d_model": 64, "n_layer": 5, "vocab_size": 128, "ssm_cfg": {}}))
    assert named_history_state(str(tmp_path), [16]).total.tolist() == [5 * inner * (16 + kernel)]


def test_a_kernel_that_transformers_refuses_is_left_out_and_named():
    kernels = {"chunkwise_kernel": "chunkwise--no-such", "sequence_kernel": "native_sequence__no-such"}
    config, notes = load_configuration({"model_type": "xlstm", "num_blocks": 4, **kernels})
    assert config.model_type == "xlstm"
    assert [note.partition(" = ")[0] for note in notes[:2]] == list(kernels)
    with pytest.raises(L2MError, match="Validation error for field 'vocab_size'"):
        load_configuration({"model_type": "xlstm", "vocab_size": "many"})


def test_recurrent_gemma_keeps_a_window_a_recurrent_and_a_convolution_state():
    config = transformers.RecurrentGemmaConfig(
        num_hidden_layers=6, vocab_size=128, hidden_size=64, intermediate_size=64, num_attention_heads=4,
        lru_width=64, attention_window_size=16, head_dim=16, num_key_value_heads=1,
    )  # fmt: skip
    state = history_state_size(config, [8, 64])
    fixed = 4 * 64 * (1 + config.conv1d_width - 1)  # two of three layers are recurrent
    assert state.total[0] == fixed + 2 * 2 * 16 * 8
    assert state.total[1] == fixed + 2 * 2 * 16 * 15
    assert state_growth(state).asymptotic_exponent == 0.0


def test_lengths_of_our_own_never_fail_and_the_limit_is_named():
    settings = {
        "model_type": "mpt", "d_model": 64, "n_heads": 4, "n_layers": 5, "vocab_size": 128, "max_seq_len": 256,
        "attn_config": {"alibi": True},
    }  # fmt: skip
    state = history_state_size(settings, [64, 4096])
    assert state.total.tolist() == [2 * 5 * 64 * n for n in (64, 4096)]
    assert any("the model has 256 positions" in note for note in state.notes)
    assert state_growth(history_state_size(settings, [64])).asymptotic_exponent == 1.0


def test_lengths_that_no_tensor_has_are_exact(compressed):
    lengths = [2**24 + 1, 2**31 + 7, 2**40]
    assert history_state_size(llama(), lengths).total.tolist() == [2 * 6 * 2 * 16 * n for n in lengths]
    far = history_state_size(compressed, [2**25 + 5])
    near = history_state_size(compressed, [2**15 + 5, 2**15])
    slope = state_growth(near).slope_per_token
    assert far.total[0] - near.total[1] == slope * (2**25 - 2**15)  # both lie as far beyond a whole period
    with pytest.raises(L2MError, match=r"2\^63 bits or more; give shorter lengths"):
        history_state_size(
            llama(num_key_value_heads=2**9, num_attention_heads=2**9, head_dim=2**10, hidden_size=2**9),
            [2**40],
        )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"peft_type": "LORA", "base_model_name_or_path": "org/base"}, "name its base model 'org/base'"),
        ({"tokenizer_class": "LlamaTokenizer"}, r"configures a tokenizer; give the config\.json beside it"),
        ({"dim": 4096, "n_layers": 32, "n_heads": 32}, r"params\.json of an original checkpoint"),
        ({"model_type": "new", "auto_map": {"AutoConfig": "x.Y"}}, "--trust-remote-code"),
        ({"model_type": "new"}, "upgrade transformers, or declare the size"),
        ({"model_type": "whisper"}, "is an encoder–decoder"),
        ({"model_type": "clip"}, "not a language model that continues a text"),
        ({"model_type": "llama", "hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_what_cannot_be_answered_is_one_whole_sentence(tmp_path, content, complaint):
    file = tmp_path / "some.json"
    file.write_text(json.dumps(content))
    with pytest.raises(L2MError, match=complaint) as error:
        named_history_state(str(file), [16])
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("model: ")
    with pytest.raises(L2MError, match="one of Ollama's"):
        named_history_state("mistral:7b", [16])


def test_one_layer_of_each_kind_stands_for_those_built_alike():
    types = ["sliding_attention", "full_attention"] * 4
    config = transformers.Gemma2Config(
        **{**TINY, "num_hidden_layers": 8}, sliding_window=16, layer_types=types
    )
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    alike = alike_layers(model)
    assert alike is not None
    assert alike.like == (0, 1) * 4
    run = configuration._MetaRun(model, torch.bfloat16, config, "gemma")
    assert sorted(run(40).tensors, key=str) == sorted(run.all_layers(40).tensors, key=str)
    np.testing.assert_array_equal(history_state_size(config, [40]).total, [4 * 2 * 2 * 16 * (40 + 15)])


# --- GGUF -------------------------------------------------------------------------------------------------------


def gguf_file(file, architecture="llama", tensors=1):
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_block_count(6)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(128)
    for number in range(tensors):
        writer.add_tensor(f"blk.{number}.attn_norm.weight", np.zeros(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_gguf_file_is_answered_from_its_header(tmp_path):
    file = gguf_file(tmp_path / "tiny.gguf")
    expected = [2 * 6 * 2 * 16 * n for n in (16, 300)]
    state = named_history_state(str(file), [16, 300])
    assert state.total.tolist() == expected
    assert (state.context, state.model) == (512, "tiny")
    assert any("header of a GGUF file" in note for note in state.notes)
    assert named_history_state(str(tmp_path), [16, 300]).total.tolist() == expected


def test_a_gguf_file_that_is_none_cut_off_or_unknown_is_refused(tmp_path):
    file = gguf_file(tmp_path / "tiny.gguf")
    whole = file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:40])
    (tmp_path / "none.gguf").write_bytes(b"PK\x03\x04" + whole)
    gguf_file(tmp_path / "new.gguf", architecture="no-such")
    for name, complaint in (
        ("cut", "cut off"),
        ("none", "is not a GGUF file"),
        ("new", "does not read the architecture"),
    ):
        with pytest.raises(L2MError, match=complaint):
            named_history_state(str(tmp_path / f"{name}.gguf"), [16])
    with pytest.raises(L2MError, match="several GGUF files"):
        history_state_size(tmp_path, [16])
