"""`l2m_context_use`: a planted memory is found, and a real model's sums are those of plain forward passes."""

import json
import math

import numpy as np
import pytest
from lm_eval.models.huggingface import HFLM

from l2m_eval.errors import L2MError
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.measurements.context_use import ContextUse, ContextUseRequest, context_use
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.scoring.portable import PortableScorer
from l2m_eval.settings import ContextUseSettings, read_settings

TASK = "l2m_context_use_text"
PROCESS = {"process": "santa_fe", "memory": 32, "facts": 512}


@pytest.fixture(scope="module")
def lm(tiny_llama):
    return HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=4, dtype="float32")


@pytest.fixture(scope="module")
def settings(text_folder):
    return {"corpus": f"{text_folder}/document*.txt", "documents": 9, "contexts": [8, 32, 96], "target": 32}


@pytest.fixture(scope="module")
def reference(evaluate, lm, settings):
    return evaluate(lm, TASK, **settings)


@pytest.fixture(scope="module")
def planted(evaluate):
    return evaluate(
        OracleLM(**PROCESS), "l2m_context_use_process", documents=100, contexts=[4, 8, 16, 32, 64, 128],
        target=64, seed=5, **PROCESS,
    )  # fmt: skip


def test_a_planted_memory_is_found_by_both_definitions(planted):
    metrics = planted.metrics
    # Beyond 32 tokens the oracle's sums do not change at all, so nothing else can be shown there.
    assert (metrics["effective_context"], metrics["effective_context_reached"]) == (32, 0)
    assert metrics["kept@0032"] == metrics["kept@0064"] == pytest.approx(1)
    for share in ("0.9", "0.95", "0.99"):
        error = metrics[f"context_needed@{share}_stderr"]
        exact = metrics[f"context_needed_exact@{share}"]
        assert abs(metrics[f"context_needed@{share}"] - exact) < 4.5 * error
        assert exact <= 32


def test_information_is_the_exact_curve_within_errors(planted):
    deviations = [v for name, v in planted.metrics.items() if name.startswith("information_deviation")]
    # six strongly correlated values, t-distributed with 99 degrees of freedom: 4.5 is 1 in 10^4
    assert len(deviations) == 6
    assert max(map(abs, deviations)) < 4.5
    assert planted.metrics["kept_exact@0016"] == pytest.approx(
        planted.block["exact"][3] / planted.block["exact"][-1]
    )


def test_sums_are_those_of_plain_forward_passes(reference, lm, text_folder):
    import torch

    sample = reference.samples[0]
    doc, record = sample["doc"], json.loads(sample["filtered_resps"][0])
    text = (text_folder / doc["document"]).read_text(encoding="utf-8")[doc["offset"] :]
    tokens = lm.tok_encode(text, add_special_tokens=False)[:128]
    for k, found in zip(record["contexts"], record["log_probs"], strict=True):
        ids = torch.tensor([[lm.prefix_token_id, *tokens[96 - k :]]])
        with torch.no_grad():
            log_probs = torch.log_softmax(lm.model(ids).logits[0].double(), -1)
        expected = sum(log_probs[t - 1, ids[0, t]].item() for t in range(k + 1, ids.shape[1]))
        assert found == pytest.approx(expected, abs=1e-3)
    assert record["bytes"] == len(lm.tok_decode(tokens[96:]).encode())
    assert record["claimed_context"] == 128


def test_portable_backends_are_asked_once_per_context_and_agree(
    evaluate, lm, settings, reference, monkeypatch
):
    monkeypatch.setattr(lm, "_l2m_scorer", PortableScorer(lm))
    portable = evaluate(lm, TASK, **settings)
    for name, value in reference.metrics.items():
        if name.startswith("information@") and "stderr" not in name:
            assert portable.metrics[name] == pytest.approx(value, abs=1e-3), name


def test_every_figure_can_be_recomputed_from_the_samples_log(reference):
    records = [json.loads(sample["filtered_resps"][0]) for sample in reference.samples]
    known = {k: v for k, v in reference.block["settings"].items() if k != "process_settings"}
    settings = read_settings(ContextUseSettings, known)
    found = context_use(records, [s["doc"] for s in reference.samples], settings, known["seed"])
    read = ContextUse.from_json(reference.block)
    assert found.to_json() == read.to_json()
    assert read.curve.information[-1] == pytest.approx(reference.metrics["information@0096"])


def test_the_tokens_it_costs_are_those_of_the_windows(reference):
    assert reference.metrics["tokens_scored"] == 4 * (32 + 1) + 8 + 32 + 96


def test_default_contexts_end_where_the_model_does(lm):
    """The default target is a quarter of this model's 128 tokens, and the longest context fills the rest."""
    request = ContextUseRequest(read_settings(ContextUseSettings, {}), None)
    assert request.fitting(Encoder(lm)) == ((0, 16, 32, 64, 96), 32)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            {"contexts": [200]},
            "contexts: 200 is over the model's context: 96 tokens fit beside the target of 32",
        ),
        ({"contexts": [8], "target": 128}, "contexts: 8 is over the model's context: 0 tokens fit"),
        ({"contexts": [0]}, r"contexts: \[0\] is not accepted; give at least one"),
        ({"contexts": [-1]}, "contexts: -1 is not accepted"),
        ({"target": 0}, "target: 0 is not accepted"),
        ({"target": 100_000}, "no document is long enough"),
        ({"shares": [0.5, 1]}, "shares: 1 is not accepted; give a number above 0 and below 1"),
        ({"shares": ["0.5", "all"]}, "shares: 'all' is not accepted"),
        ({"claimed_context": 0}, "claimed_context: 0 is not accepted"),
    ],
)
def test_mistakes_are_one_line(evaluate, lm, settings, wrong, says):
    with pytest.raises(L2MError, match=says) as error:
        evaluate(lm, TASK, **{**settings, **wrong})
    assert "\n" not in str(error.value)


def test_two_documents_have_no_effective_context_and_it_is_said(evaluate, lm, settings):
    run = evaluate(lm, TASK, **{**settings, "documents": 2})
    assert math.isnan(run.metrics["effective_context"])
    assert any("the documents are 2 independent group(s)" in warning for warning in run.block["warnings"])
    assert np.isfinite(run.metrics["information@0096"])


def test_a_stated_claim_stands_before_that_of_the_configuration(evaluate, lm, settings, reference):
    assert reference.block["claimed_context"] == 128
    run = evaluate(lm, TASK, **{**settings, "documents": 3, "claimed_context": 131072})
    assert run.block["claimed_context"] == 131072


@pytest.mark.parametrize(
    ("task", "setting", "written_out"),
    [
        (TASK, "contexts", {"contexts": [0, 16, 32, 64, 96], "target": 32}),
        ("l2m_bipartite_text", "lengths", {"lengths": "4:128"}),
    ],
)
def test_auto_measures_what_the_written_out_lengths_do(lm, text_folder, task, setting, written_out):
    """The model's context is that of the model that was made."""
    from lm_eval import simple_evaluate

    told = {"corpus": f"{text_folder}/document*.txt", "documents": 3}
    auto, written = (
        simple_evaluate(model=lm, tasks=[task], metadata={**told, **lengths}, bootstrap_iters=0)
        for lengths in ({setting: "auto"}, written_out)
    )
    assert str(auto["results"][task]) == str(written["results"][task])  # NaN is equal to itself there
    block = auto["configs"][task]["l2m"]
    assert block["settings"]["model_context"] == 128
    assert setting in block["set_by_the_run"]
    assert block["settings"][setting] == written["configs"][task]["l2m"]["settings"][setting]


@pytest.mark.parametrize(
    ("arguments", "longest"),
    [(["--max-length", "64"], 64), ([], 128)],
    ids=["stated", "of the configuration"],
)
def test_a_plan_knows_what_auto_is(capsys, tiny_llama, text_folder, arguments, longest):
    from l2m_eval.cli import main as cli

    told = json.dumps({"corpus": f"{text_folder}/document*.txt", "documents": 2, "lengths": "auto"})
    command = [
        "plan",
        str(tiny_llama),
        "--tasks",
        "l2m_bipartite_text",
        "--metadata",
        told,
        "--json",
        *arguments,
    ]
    assert cli.main(command) == 0
    assert json.loads(capsys.readouterr().out)["tasks"][0]["longest"] - 1 == longest
