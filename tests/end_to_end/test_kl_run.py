"""The divergence through the harness: zero for the process itself, known for a uniform model, else refused."""

import math

import numpy as np
import pytest
from lm_eval.api.registry import get_model

from l2m_eval.errors import L2MError
from l2m_eval.experiments.synthetic import save_for_the_harness
from l2m_eval.processes import SantaFeRecall

PROCESS = {"process": "santa_fe_recall", "facts": 16, "flip_rate": 0.02}
SETTINGS = {**PROCESS, "documents": 24, "length": 32}


@pytest.fixture(scope="module")
def uniform_model(tmp_path_factory):
    """A real Llama whose head is zero: every one of its 3 · 16 + 1 tokens is equally likely, at every position."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    process = SantaFeRecall(facts=16)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=process.vocabulary_size + 1,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
            bos_token_id=process.vocabulary_size,
            eos_token_id=process.vocabulary_size,
        )
    )
    with torch.no_grad():
        model.lm_head.weight.zero_()
    folder = tmp_path_factory.mktemp("uniform")
    save_for_the_harness(model, process, folder)
    return folder


def test_the_process_is_no_distance_from_itself(evaluate):
    model = get_model("l2m-oracle").create_from_arg_string(
        "process=santa_fe_recall,facts=16,flip_rate=0.02", {}
    )
    run = evaluate(model, "l2m_kl_process", **SETTINGS)
    # The same numbers summed in another order: rounding of sums of some hundred nats.
    assert run.metrics["kl"] == pytest.approx(0, abs=1e-12)
    assert run.metrics["kl@0016-0032"] == pytest.approx(0, abs=1e-12)
    assert run.block["schema"] == "l2m-eval/kl/1"
    assert run.block["curve"]["documents"] == 24


def test_a_uniform_model_is_its_entropy_away(evaluate, uniform_model):
    model = get_model("hf").create_from_arg_string(
        f"pretrained={uniform_model},dtype=float32", {"device": "cpu"}
    )
    run = evaluate(model, "l2m_kl_process", **SETTINGS)
    process = SantaFeRecall(facts=16, flip_rate=0.02)
    exact = math.log(process.vocabulary_size + 1) - process.mean_nll(32)
    assert abs(run.metrics["kl"] - exact.mean()) < 4 * run.metrics["kl_stderr"]
    late = exact[15:].mean()
    assert abs(run.metrics["kl@0016-0032"] - late) < 4 * run.metrics["kl@0016-0032_stderr"]
    assert run.metrics["kl_stderr"] > 0


def test_a_models_own_tokenizer_must_hold_the_process_tokens(evaluate, tiny_llama):
    model = get_model("hf").create_from_arg_string(
        f"pretrained={tiny_llama},dtype=float32", {"device": "cpu"}
    )
    with pytest.raises(
        L2MError, match=r"tokens of 32 of process santa_fe_recall, whose tokens its vocabulary"
    ):
        evaluate(model, "l2m_kl_process", **SETTINGS)


def test_text_whose_truth_is_not_known_is_refused(evaluate):
    model = get_model("l2m-oracle").create_from_arg_string("process=markov", {})
    with pytest.raises(
        L2MError, match=r"corpus: 'pg19' is not accepted; exact values are known only for a process"
    ):
        evaluate(model, "l2m_kl_process", corpus="pg19", documents=2)


def test_samples_hold_what_the_curve_is_made_of(evaluate, uniform_model):
    model = get_model("hf").create_from_arg_string(
        f"pretrained={uniform_model},dtype=float32", {"device": "cpu"}
    )
    run = evaluate(model, "l2m_kl_process", limit=5, **SETTINGS)
    own = [sample["kl"] for sample in run.samples]
    assert len(own) == 5
    assert np.mean(own) == pytest.approx(run.metrics["kl"], abs=1e-9)
