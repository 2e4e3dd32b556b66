"""States under presses of kvpress (an extra): what they leave is masked attention, positions are the text's."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_through_states import (
    ROUNDING,
    SCORED,
    loaded,
    masked_sums,
    scores,
    texts,
    windows_of,
)

from l2m_eval.errors import L2MError
from l2m_eval.scoring.huggingface import HuggingFaceScorer

pytest.importorskip("kvpress", reason="kvpress is not installed (an extra; transformers below 5.3)")
sys.path.append(str(Path(__file__).resolve().parents[1] / "history_state"))
from tiny_models import tiny_config, tiny_model

READ = 100  # snapkv looks at the last 64
HEADS, WIDTH = 2, 16


def looking_back(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


@pytest.fixture(scope="module")
def llama():
    return looking_back(tiny_model("llama"))


@pytest.fixture(scope="module")
def scorer(llama, tokenizer_folder):
    return HuggingFaceScorer(loaded(llama, tokenizer_folder))


@pytest.fixture(scope="module")
def reference(scorer):
    presses = ["knorm:0", "knorm:0.5", "streaming_llm:0.5", "snapkv:0.25", "expected_attention:0.5"]
    names = ["full", "sinks4+window46", *(f"kvpress:{press}" for press in presses)]
    return scores(scorer, windows_of(texts(3, READ), names))


def test_a_ratio_of_zero_is_the_whole_state(reference):
    for number in range(3):
        whole, pressed = (reference[f"text {number}", name].sums for name in ("full", "kvpress:knorm:0"))
        assert pressed == pytest.approx(whole, abs=ROUNDING)
        assert np.abs(pressed - whole).max() < 1e-5 * SCORED


@pytest.mark.parametrize(
    ("press", "entries"), [("knorm:0.5", 49), ("snapkv:0.25", 74), ("expected_attention:0.5", 49)]
)
def test_the_bits_are_those_of_the_entries_that_are_left(reference, press, entries):
    """int(99 · (1 − ratio)) of the 99 that were read, and something is lost with them."""
    for number in range(3):
        whole, pressed = (reference[f"text {number}", name].sums for name in ("full", f"kvpress:{press}"))
        assert pressed[-1] == whole[-1] * entries / (READ - 1)
        assert np.abs(pressed - whole)[:-1].max() > 100 * ROUNDING


def test_first_and_last_entries_are_ours_with_sinks(reference):
    """streaming_llm leaves the first 4 and the last 45 of 99: a window of 46 with the token read behind it."""
    for number in range(3):
        ours, pressed = (
            reference[f"text {number}", name].sums
            for name in ("sinks4+window46", "kvpress:streaming_llm:0.5")
        )
        assert pressed == pytest.approx(ours, abs=ROUNDING)


def test_what_a_press_leaves_is_masked_attention_in_every_head(tokenizer_folder):
    """By hand: one layer, where the norms of its keys alone say which half of the entries a head keeps."""
    config = tiny_config("llama")
    config.num_hidden_layers = 1
    config._attn_implementation = "eager"
    model = looking_back(tiny_model("llama", config))
    scorer = HuggingFaceScorer(loaded(model, tokenizer_folder))
    found = scores(scorer, windows_of(texts(2, READ), ["kvpress:knorm:0.5", "full"]))
    length, known = READ + SCORED, READ - 1
    for number, (context, target) in enumerate(texts(2, READ)):
        with torch.no_grad():
            keys = model(torch.from_numpy(context[:-1])[None], use_cache=True).past_key_values.layers[0].keys
        kept = torch.zeros(keys.shape[:3], dtype=torch.bool)  # (1, H, T)
        kept.scatter_(-1, (-keys.norm(dim=-1)).topk(int(known * 0.5), dim=-1).indices, True)
        seen = torch.tril(torch.ones(length, length, dtype=torch.bool)).repeat(
            config.num_attention_heads, 1, 1
        )
        each = kept[0].repeat_interleave(config.num_attention_heads // keys.shape[1], dim=0)
        seen[:, known:, :known] &= each[:, None, :]
        mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None]
        by_hand = masked_sums(model, context, target, mask)
        assert found[f"text {number}", "kvpress:knorm:0.5"].sums[:-1] == pytest.approx(by_hand, abs=ROUNDING)
        assert np.abs(found[f"text {number}", "full"].sums[:-1] - by_hand).max() > 100 * ROUNDING


def test_batches_of_other_sizes_give_the_same(llama, tokenizer_folder, reference):
    other = HuggingFaceScorer(loaded(llama, tokenizer_folder, batch_size=1))
    names = [name for _, name in reference if name.startswith("kvpress")]
    for key, answer in scores(other, windows_of(texts(3, READ), dict.fromkeys(names))).items():
        assert answer.sums == pytest.approx(reference[key].sums, abs=ROUNDING)


def test_a_text_is_read_again_for_each_press(scorer):
    answers = scores(scorer, windows_of(texts(1, READ), ["full", "bits4", "kvpress:knorm:0.5"]))
    assert sum(answer.tokens for answer in answers.values()) == 2 * (READ - 1) + 3 * (SCORED + 1)


def test_a_text_too_short_for_a_press_and_a_model_that_it_does_not_know_are_one_line(
    scorer, tokenizer_folder
):
    with pytest.raises(
        L2MError, match=r"kvpress:snapkv:0.5 cannot press LlamaForCausalLM after 39 tokens: .*64"
    ):
        scores(scorer, windows_of(texts(1, 40), ["kvpress:snapkv:0.5"]))
    for family, reason in (("gpt2", "cannot press GPT2LMHeadModel"), ("gemma3_text", "attend to all tokens")):
        other = HuggingFaceScorer(loaded(tiny_model(family), tokenizer_folder))
        with pytest.raises(L2MError, match=reason) as refused:
            scores(other, windows_of(texts(1, READ), ["kvpress:knorm:0.5"]))
        assert "\n" not in str(refused.value)
