"""`lm_eval run --tasks l2m_condition_text`: the state of the model that is measured, and what follows from it."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from lm_eval.models.huggingface import HFLM

from l2m_eval.errors import L2MError
from l2m_eval.measurements.condition import state_of_lm
from l2m_eval.results.load import load_results

LENGTHS = [4, 8, 16, 32, 64]
TASK = "l2m_condition_text"
PUBLISHED = "pg19-llama-3.1-405b-direct"


def tiny_model(folder, tokenizer_folder, family, **settings):
    """A random model of a family, saved with the tests' tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        vocab_size=320,
        hidden_size=32,
        num_hidden_layers=2,
        bos_token_id=0,
        eos_token_id=1,
        **settings,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    for file in tokenizer_folder.iterdir():
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def tiny_mamba(tmp_path_factory, tokenizer_folder):
    folder = tmp_path_factory.mktemp("models") / "tiny-mamba"
    return tiny_model(folder, tokenizer_folder, "mamba", state_size=4)


@pytest.fixture(scope="module")
def tiny_hybrid(tmp_path_factory, tokenizer_folder):
    """LFM2 with one convolution and one attention layer, 2 key-value heads of 8."""
    return tiny_model(
        tmp_path_factory.mktemp("models") / "tiny-hybrid", tokenizer_folder, "lfm2",
        num_attention_heads=4, num_key_value_heads=2, intermediate_size=64, layer_types=["conv", "full_attention"],
        block_auto_adjust_ff_dim=False, conv_L_cache=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def settings(text_folder):
    return {"corpus": f"{text_folder}/*.txt", "documents": 6, "lengths": LENGTHS, "estimators": "direct"}


@pytest.fixture(scope="module")
def hf(lm_eval, settings):
    def run(model, *arguments, task=TASK, **metadata):
        return lm_eval(
            "--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu",
            "--batch_size", "8", "--tasks", task, *arguments, metadata={**settings, **metadata},
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def here(evaluate, settings):
    """The same in this process, without the command's start."""

    def run(model, **metadata):
        lm = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=8)
        return evaluate(lm, TASK, **{**settings, **metadata})

    return run


@pytest.fixture(scope="module")
def llama(hf, tiny_llama):
    run = hf(tiny_llama, "--log_samples", task=f"{TASK},l2m_bipartite_text", reference=PUBLISHED)
    assert run.code == 0, run.stderr
    return run


def l2m_eval_check(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "l2m_eval.cli.main", "check", "--json", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


def test_the_curves_are_those_of_the_bipartite_task(llama):
    ours, bipartite = llama.metrics(TASK), llama.metrics("l2m_bipartite_text")
    assert {name: ours[name] for name in bipartite if "direct" in name} == {
        name: value for name, value in bipartite.items() if "direct" in name
    }


def test_the_state_is_read_from_the_models_own_cache(llama):
    metrics, block = llama.metrics(TASK), llama.results["configs"][TASK]["l2m"]
    assert block["schema"] == "l2m-eval/condition/1"
    assert block["state"]["source"] == "measured on the model's own cache"
    assert block["state"]["layers"][0]["dtype"] == "float32"  # as it ran, not as its configuration says
    for length in LENGTHS:
        assert (
            metrics[f"state_size@{length:04d}"] == 2 * 2 * 2 * 8 * length
        )  # keys and values, layers, heads, width
    assert metrics["state_exponent"] == 1


def test_the_verdict_is_in_the_metrics_and_in_words(llama):
    metrics, check = llama.metrics(TASK), llama.results["configs"][TASK]["l2m"]["check"]
    assert check["schema"] == "l2m-eval/check/1"
    assert (metrics["l2m_margin"], metrics["l2m_satisfied"]) == (pytest.approx(0.24), 1)
    assert metrics["l2m_horizon"] == math.inf
    assert "tiny-llama grows linearly: 64 · L elements" in check["sentence"]
    assert "Llama 3.1 405B" in check["sentence"]


def test_the_state_stands_in_the_samples_log_once(llama):
    records = [json.loads(sample["filtered_resps"][0]) for sample in llama.samples(TASK)]
    assert ["state" in record for record in records] == [True] + [False] * 5


def test_a_fixed_state_violates_and_has_a_finite_horizon(here, tiny_mamba):
    run = here(tiny_mamba, reference=PUBLISHED)
    metrics, check = run.metrics, run.block["check"]
    assert (metrics["state_exponent"], metrics["l2m_satisfied"]) == (0, 0)
    assert metrics["l2m_margin"] == pytest.approx(-0.76)
    elements = 2 * 64 * (4 + 4)  # layers, inner width, state and convolution
    assert metrics["state_size@0004"] == metrics["state_size@0064"] == elements
    # 2.27 · L^0.76 against 32 bits an element and log M
    nats = elements * 32 * math.log(2) + math.log(320)
    assert metrics["l2m_horizon"] == pytest.approx((nats / 2.27) ** (1 / 0.76), rel=1e-6)
    assert "Llama 3.1 405B" in check["sentence"]
    assert check["exit_code"] == 1


def test_a_hybrid_is_satisfied_in_the_end_with_its_constant_part_shown(here, tiny_hybrid):
    if version("transformers").startswith("4."):
        pytest.skip("transformers 4 allocates LFM2's convolution states for its attention layers too")
    run = here(tiny_hybrid, reference=PUBLISHED)
    metrics, check = run.metrics, run.block["check"]
    assert (metrics["state_exponent"], metrics["l2m_satisfied"]) == (1, 1)
    constant = 32 * 3  # width, convolution cache
    assert metrics["state_size@0064"] == constant + 2 * 2 * 8 * 64
    assert f"grows linearly: {constant} + 32 · L elements" in check["sentence"]


def test_curves_can_be_taken_from_saved_results(hf, llama, tiny_llama):
    again = hf(tiny_llama, results=str(llama.output), reference=PUBLISHED)
    assert again.code == 0, again.stderr
    before, after = llama.metrics(TASK), again.metrics(TASK)
    before.pop("tokens_scored")  # nothing was fed this time
    assert {name: after[name] for name in before} == pytest.approx(before, nan_ok=True)
    assert "Scoring" not in again.stderr
    assert again.results["configs"][TASK]["l2m"]["results"].startswith(str(llama.output))


def test_a_reference_on_other_documents_gives_the_law_and_no_mi_capability(here, oracle, tiny_hybrid):
    run = here(tiny_hybrid, reference=str(oracle.output))
    block = run.block
    assert re.search(r"process santa_fe \([^)]+\), measured with", block["check"]["sentence"])
    assert run.metrics["l2m_satisfied"] == 1
    assert "not measured on the same documents" in block["capability"]["sentence"]
    assert any("no check of the capability" in warning for warning in block["warnings"])


def test_an_api_model_needs_its_state_stated_before_anything_is_asked(lm_eval, tiny_llama, text_folder):
    arguments = (
        "--model", "local-completions",
        "--model_args", f"model=tiny,base_url=http://127.0.0.1:9/v1/completions,tokenizer={tiny_llama}",
        "--tasks", TASK,
    )  # fmt: skip
    metadata = {"corpus": f"{text_folder}/*.txt", "documents": 4, "lengths": [4, 8]}
    run = lm_eval(*arguments, metadata=metadata)
    assert run.code != 0
    assert run.error.startswith(
        "l2m-eval: error: state: LocalCompletionsAPI gives neither a model nor a configuration"
    )
    assert '"formula"' in run.error
    assert "Traceback" not in run.stderr


PROCESS = "l2m_condition_process"


@pytest.fixture(scope="module")
def oracle(lm_eval):
    """The mixing Santa Fe process itself as the model, said to remember 100 elements of 2 bits."""
    run = lm_eval(
        "--model", "l2m-oracle", "--model_args", "process=santa_fe,beta=0.75,facts=1024,flip_rate=0.1",
        "--tasks", PROCESS, "--log_samples",
        metadata={"documents": 60, "lengths": [16, 64, 256], "estimators": "direct",
                  "state": {"constant": 100, "bits": 2}},
    )  # fmt: skip
    assert run.code == 0, run.stderr
    return run


def test_a_stated_state_is_judged_by_the_measured_law(oracle):
    metrics, block = oracle.metrics(PROCESS), oracle.results["configs"][PROCESS]["l2m"]
    assert block["state"]["source"] == "declared"
    assert metrics["l2m_satisfied"] == 0
    assert metrics["l2m_margin"] == pytest.approx(-metrics["direct_beta"])
    assert metrics["l2m_margin_stderr"] == pytest.approx(metrics["direct_beta_stderr"])
    assert metrics["state_size@0256"] == 100
    nats = 200 * math.log(2)
    fitted = (nats / metrics["direct_amplitude"]) ** (1 / metrics["direct_beta"])
    assert metrics["l2m_horizon"] == pytest.approx(fitted, rel=1e-6)
    assert 0 < metrics["l2m_horizon_stderr"] < metrics["l2m_horizon"]


def test_the_command_says_what_the_task_said(oracle):
    check = oracle.results["configs"][PROCESS]["l2m"]["check"]
    code, found = l2m_eval_check(oracle.output)
    (ours,) = found["checks"]
    assert code == found["exit_code"] == check["exit_code"] == 1
    assert {key: ours[key] for key in check} == check
    assert load_results(oracle.output)[0].verdict.to_json() == check


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"reference": "pg20"}, "reference: 'pg20' is not a published law"),
        ({"state": "64*widht*L"}, "formula: unknown name 'widht'"),
        ({"state": "__import__('os')"}, "formula: call in"),
        ({"state": {"constant": 10, "size": 3}}, "state: unknown entry 'size'"),
        ({"results": "nowhere"}, "results: there is no 'nowhere'"),
        ({"check_curve": "vclub"}, "check_curve: 'vclub' is not measured"),
        ({"nats_per_element": -1}, "nats_per_element: -1 is not accepted"),
        ({"state_results": "nowhere"}, "results: there is no 'nowhere'"),
    ],
)
def test_a_mistake_is_refused_before_any_model_is_loaded(refusal, settings, metadata, says):
    assert says in refusal(TASK, **{**settings, **metadata})


# --- the state of a harness LM, without a run ---------------------------------------------------------------------


def test_a_backend_with_a_configuration_alone_is_counted_from_it(tiny_llama):
    """As vllm has it: its engine is no Hugging Face model."""
    from transformers import AutoConfig

    lm = SimpleNamespace(model=object(), _config=AutoConfig.from_pretrained(tiny_llama))
    state = state_of_lm(lm, [8, 64])
    assert state.source == "configuration"
    assert state.total.tolist() == [512, 4096]


def test_a_stated_state_comes_before_the_models_own(tiny_llama):
    from transformers import AutoModelForCausalLM

    lm = SimpleNamespace(model=AutoModelForCausalLM.from_pretrained(tiny_llama))
    assert state_of_lm(lm, [8]).total.tolist() == [512]
    assert state_of_lm(lm, [8], {"constant": 7}).total.tolist() == [7]
    assert state_of_lm(lm, [8], "3*L").total.tolist() == [24]


def test_a_model_without_a_cache_is_told_to_state_its_size():
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("openai-gpt", n_embd=32, n_layer=1, n_head=4, vocab_size=64)
    lm = SimpleNamespace(model=AutoModelForCausalLM.from_config(config))
    with pytest.raises(L2MError, match=r"returns no history state .* \(state it: --metadata"):
        state_of_lm(lm, [8])


# --- real models on real books ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_full_attention_satisfies_and_its_window_falls_behind(lm_eval, shared):
    """SCIENCE.md §7: equal loss, half the long-range information."""

    def run(model, **metadata):
        done = lm_eval(
            "--model", "hf", "--model_args", f"pretrained={shared / 'models' / model},dtype=float32",
            "--device", "cpu", "--batch_size", "8", "--tasks", TASK, "--log_samples",
            metadata={"corpus": f"{shared}/corpora/books/*.txt", "documents": 48, "estimators": "direct",
                      "lengths": [64, 256, 1024, 2048], **metadata},
        )  # fmt: skip
        assert done.code == 0, done.stderr
        return done

    full = run("books-llama-5m")
    metrics = full.metrics(TASK)
    assert (metrics["state_exponent"], metrics["l2m_satisfied"]) == (1, 1)
    assert metrics["state_size@2048"] == 2 * 6 * 128 * 2048

    window = run("books-swa64-5m", reference=str(full.output))
    metrics, block = window.metrics(TASK), window.results["configs"][TASK]["l2m"]
    assert (metrics["state_exponent"], metrics["l2m_satisfied"]) == (0, 0)
    assert metrics["state_size@0064"] == metrics["state_size@2048"] == 2 * 6 * 128 * 63
    assert block["check"]["numbers"]["saturation_length"] == 63
    assert "measured with books-llama-5m" in block["check"]["sentence"]
    assert math.isfinite(metrics["l2m_horizon"])
    capability = block["capability"]
    assert capability["status"] == "violated"
    ratios, errors = capability["numbers"]["ratios"], capability["numbers"]["errors"]
    assert ratios[-1] == pytest.approx(0.5, abs=0.15)  # three standard errors of 48 documents, about 0.05
    assert errors[-1] < 0.08
    assert ratios[0] == pytest.approx(1, abs=4 * errors[0])  # within the window they are one model
    assert ratios == sorted(ratios, reverse=True)
    code, found = l2m_eval_check(window.output, "--reference", full.output)
    assert code == 1
    assert [one["sentence"] for one in found["checks"]] == [
        block["check"]["sentence"],
        capability["sentence"],
    ]
