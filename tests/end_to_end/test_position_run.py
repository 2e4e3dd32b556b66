"""`l2m_position_nll`: the loss by position, on a process that is known and on real models."""

import json
import math
from importlib.metadata import version

import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tolerances import FLOAT32, of_a_log_probability, of_a_sum, of_log_probabilities

from l2m_eval.errors import L2MError
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.measurements.position import DECIMALS
from l2m_eval.scoring.portable import PortableScorer

TASK = "l2m_position_nll_text"


@pytest.fixture(scope="module")
def lm(tiny_llama):
    return HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=4, dtype="float32")


@pytest.fixture(scope="module")
def settings(text_folder):
    return {"corpus": f"{text_folder}/document*.txt", "documents": 9, "length": 100}


@pytest.fixture(scope="module")
def reference(evaluate, lm, settings):
    return evaluate(lm, TASK, **settings)


def test_the_oracle_has_the_exact_loss_of_its_process_in_every_bin(evaluate):
    process = {"process": "santa_fe", "beta": 0.7, "facts": 256, "flip_rate": 0.1}
    run = evaluate(
        OracleLM(**process), "l2m_position_nll_process", documents=200, length=512, seed=3, **process
    )
    deviations = [value for name, value in run.metrics.items() if name.startswith("nll_deviation")]
    # ten bins and the whole, strongly correlated, t-distributed with 199 degrees of freedom: 4.5 is 1 in 10^5
    assert len(deviations) == 10
    assert max(map(abs, deviations)) < 4.5
    exact = OracleLM(**process).process.mean_nll(512)
    assert run.metrics["nll_exact@0016-0031"] == pytest.approx(exact[15:31].mean())
    assert run.metrics["nll_exact"] == pytest.approx(exact.mean())
    assert run.block["curve"]["exact"][0] == pytest.approx(exact[0])


def test_bins_and_their_names_double(reference):
    names = [name for name in reference.metrics if name.startswith("nll@") and "stderr" not in name]
    assert sorted(names) == [
        "nll@0001", "nll@0002-0003", "nll@0004-0007", "nll@0008-0015", "nll@0016-0031", "nll@0032-0063",
        "nll@0064-0100",
    ]  # fmt: skip
    for name in names:
        assert reference.metrics[f"{name}_stderr"] > 0


def test_the_total_is_that_of_loglikelihood_rolling(evaluate, lm, text_folder, tmp_path):
    for number in range(2):
        text = (text_folder / f"document{number}.txt").read_text(encoding="utf-8")[:140]
        tokens = lm.tok_encode(text, add_special_tokens=False)
        assert len(tokens) <= lm.max_length - 1  # one window
        (tmp_path / "one.txt").write_text(text, encoding="utf-8")
        run = evaluate(
            lm,
            TASK,
            corpus=str(tmp_path / "one.txt"),
            documents=1,
            length=len(tokens),
            chunk_bytes=len(text.encode()),
        )
        # lm-eval 0.5 asks for the two names and for an empty context before the text, and answers with a pair.
        named = {"task_name": TASK, "doc_id": 0}
        is_earlier = version("lm_eval").startswith("0.4")
        asked = (text,) if is_earlier else ("", text)
        request = Instance("loglikelihood_rolling", doc={}, arguments=asked, idx=0, **named)
        (answer,) = lm.loglikelihood_rolling([request], disable_tqdm=True)
        rolling = answer if is_earlier else answer[0]
        # The harness adds the tokens up in float32.
        rounding = of_log_probabilities(len(tokens)) + of_a_sum(len(tokens), rolling, FLOAT32)
        assert -run.metrics["nll"] * len(tokens) == pytest.approx(rolling, abs=rounding)
        assert run.metrics["bits_per_byte"] == pytest.approx(
            -rolling / math.log(2) / len(text.encode()), rel=rounding / abs(rolling)
        )
        assert math.isnan(run.metrics["nll_stderr"])  # one document tells nothing of others


def test_portable_backends_are_asked_once_per_bin_and_agree(evaluate, lm, settings, reference, monkeypatch):
    asked = []
    original = HFLM._loglikelihood_tokens

    def counted(self, requests, **kwargs):
        asked.extend(requests)
        return original(self, requests, **kwargs)

    monkeypatch.setattr(lm, "_l2m_scorer", PortableScorer(lm))
    monkeypatch.setattr(HFLM, "_loglikelihood_tokens", counted)
    portable = evaluate(lm, TASK, **settings)
    assert len(asked) == 9 * 7  # documents, bins
    for name, value in reference.metrics.items():
        if "@" in name and "stderr" not in name:
            # Means over tokens are within what one token is, and the harness adds them up in float32.
            rounding = of_a_log_probability() + of_a_sum(64, value, FLOAT32)
            assert portable.metrics[name] == pytest.approx(value, abs=rounding), name
    monkeypatch.delattr(OracleLM, "token_log_probs")
    with pytest.raises(L2MError, match="curve: full needs the log-probability of every token"):
        evaluate(
            OracleLM(facts=16), "l2m_position_nll_process", facts=16, length=300, documents=4, curve="full"
        )


def test_the_full_curve_has_every_position_and_the_same_bins(evaluate, lm, settings, reference):
    full = evaluate(lm, TASK, curve="full", **settings)
    nll = np.array(full.block["full"]["nll"])
    assert nll.shape == (100,)
    written = 10.0**-DECIMALS  # tokens are written to that many decimals
    assert full.metrics["nll@0032-0063"] == pytest.approx(nll[31:63].mean(), abs=written)
    assert full.metrics["nll@0032-0063"] == pytest.approx(
        reference.metrics["nll@0032-0063"], abs=of_a_log_probability()
    )
    records = [json.loads(sample["filtered_resps"][0]) for sample in full.samples]
    assert np.mean([record["log_probs"] for record in records], axis=0) == pytest.approx(-nll, abs=written)


def test_every_figure_can_be_recomputed_from_the_samples_log(reference):
    from l2m_eval.measurements.position import position_curve

    records = [json.loads(sample["filtered_resps"][0]) for sample in reference.samples]
    curve = position_curve(records, [sample["doc"] for sample in reference.samples])
    assert curve.overall.value == pytest.approx(reference.metrics["nll"])
    assert curve.context_gain.standard_error == pytest.approx(reference.metrics["context_gain_stderr"])


def test_the_documents_of_a_limited_run_are_the_first_of_the_whole_one(evaluate, lm, settings, reference):
    limited = evaluate(lm, TASK, limit=4, **settings)
    assert [s["doc"] for s in limited.samples] == [s["doc"] for s in reference.samples][:4]
    assert limited.samples[3]["nll"] == pytest.approx(reference.samples[3]["nll"], abs=of_a_log_probability())


def test_the_default_length_is_capped_by_the_context_and_a_given_one_refused(evaluate, lm, settings):
    whole = {**settings, "length": None, "chunk_bytes": 4000}
    run = evaluate(lm, TASK, **whole)
    assert run.block["settings"]["length"] == lm.max_length
    with pytest.raises(L2MError, match="length: 129 is over the model's context: 128 tokens fit"):
        evaluate(lm, TASK, **{**settings, "length": 129})
