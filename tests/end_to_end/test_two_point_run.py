"""`l2m_two_point` and `l2m_two_point_generated`: token pairs of the text, and of what a model samples."""

import json

import numpy as np
import pytest
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM

from l2m_eval.errors import L2MError
from l2m_eval.estimators.two_point.curve import two_point_mutual_information
from l2m_eval.estimators.two_point.estimation import PairEstimation
from l2m_eval.estimators.two_point.fit import fit_power_law_with_offset
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.harness.preflight import check_task
from l2m_eval.harness.tokenizer_only import TokenizerOnlyLM

TASK = "l2m_two_point_text"
DISTANCES = [1, 2, 4, 8, 16]
MARKOV = {"process": "markov", "states": 8, "persistence": 0.5}


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return TokenizerOnlyLM(pretrained=str(tokenizer_folder))


@pytest.fixture(scope="module")
def settings(text_folder):
    return {"corpus": f"{text_folder}/*.txt", "distances": DISTANCES}


@pytest.fixture(scope="module")
def reference(evaluate, tokenizer, settings):
    return evaluate(tokenizer, TASK, **settings)


def test_the_curve_is_the_estimate_on_all_tokens_of_all_documents(reference, tokenizer, text_folder):
    documents = [
        np.array(tokenizer.tok_encode((text_folder / sample["doc"]["document"]).read_text(encoding="utf-8")))
        for sample in reference.samples
    ]
    assert len(documents) == 10  # the short one too: it has pairs at short distances
    curve = two_point_mutual_information(documents, DISTANCES, PairEstimation(seed=1234))
    for i, d in enumerate(DISTANCES):
        assert reference.metrics[f"two_point_mi@{d:04d}"] == pytest.approx(curve.mi[i], abs=1e-12)
        assert reference.metrics[f"two_point_mi@{d:04d}_stderr"] == pytest.approx(curve.standard_error[i])
        assert reference.metrics[f"two_point_null@{d:04d}"] == pytest.approx(curve.null[i])
        assert reference.metrics[f"two_point_null@{d:04d}_stderr"] == pytest.approx(curve.null_spread[i])
    offset = fit_power_law_with_offset(curve)
    assert reference.metrics["two_point_floor"] == pytest.approx(offset.offset.value)
    assert reference.metrics["two_point_tokens"] == sum(map(len, documents))


def test_a_model_and_its_tokenizer_alone_give_the_same_curve(evaluate, reference, settings, tiny_llama):
    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=1)
    assert evaluate(lm, TASK, **settings).metrics == pytest.approx(reference.metrics, nan_ok=True)


def test_the_oracle_has_the_exact_curve_of_its_process(evaluate):
    run = evaluate(OracleLM(**MARKOV), "l2m_two_point_process", documents=64, length=4096, **MARKOV)
    deviations = [value for name, value in run.metrics.items() if "_deviation@" in name]
    assert len(deviations) == 12  # 1 ... 2048: documents of 4096 tokens have no pairs at 4096
    # jackknife over 32 groups: t with 31 degrees of freedom, 5 is 2 in 10^5 a point
    assert max(map(abs, deviations)) < 5
    assert run.metrics["two_point_mi@0001"] > 10 * run.metrics["two_point_mi@0001_stderr"]
    curve = run.block["curves"][0]
    assert curve["exact"][0] == pytest.approx(run.metrics["two_point_mi_exact@0001"])
    assert curve["distances"] == [2**k for k in range(12)]


def test_the_published_fit_without_a_null(evaluate, tokenizer, settings, reference):
    run = evaluate(
        tokenizer,
        TASK,
        null_correction="none",
        pair_marginals="global",
        entropy_estimator="plugin",
        **settings,
    )
    # the bias of the plug-in estimate is positive and there at every distance
    for d in DISTANCES:
        assert run.metrics[f"two_point_mi@{d:04d}"] > reference.metrics[f"two_point_mi@{d:04d}"]
        assert run.metrics[f"two_point_null@{d:04d}"] == 0
    published = next(f for f in run.block["curves"][0]["fits"] if f["form"].endswith("in_logarithms"))
    assert run.metrics["two_point_alpha"] == published["alpha"]


def test_chunks_of_a_given_size_instead_of_whole_documents(evaluate, tokenizer, settings):
    run = evaluate(tokenizer, TASK, chunk_bytes=3000, documents=6, **settings)
    assert [sample["doc"]["bytes"] for sample in run.samples] == [3000] * 6
    assert run.block["curves"][0]["documents"] == 6


def test_a_limited_run_counts_the_first_documents(evaluate, tokenizer, settings, reference):
    run = evaluate(tokenizer, TASK, limit=3, **settings)
    assert [s["doc"] for s in run.samples] == [s["doc"] for s in reference.samples][:3]
    tokens = [json.loads(s["filtered_resps"][0])["tokens"] for s in reference.samples]
    assert run.metrics["two_point_tokens"] == sum(tokens[:3])


def test_the_text_need_not_fit_in_memory(evaluate, tokenizer, settings, reference, monkeypatch):
    monkeypatch.setattr("l2m_eval.corpus.whole_documents.IN_MEMORY_BYTES", 100)
    assert evaluate(tokenizer, TASK, **settings).metrics == pytest.approx(reference.metrics, nan_ok=True)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"distances": [1, 100_000]}, "distances: 100000 is too long; the longest document has"),
        ({"entropy_estimator": "grasberger"}, r"entropy_estimator: .*\(nearest: grassberger\)"),
        ({"null_correction": "bootstrap"}, "null_correction: 'bootstrap' is not known"),
        ({"memory_gb": 0}, "memory_gb: 0 is not accepted; give a number above zero"),
        ({"distances": []}, "distances: .* give a non-empty list"),
        ({"shuffle": 3}, "shuffle: unknown setting .* did you mean shuffles"),
    ],
)
def test_what_is_wrong_shows_before_a_model_is_loaded(settings, wrong, line):
    with pytest.raises(L2MError, match=line):
        check_task("l2m_eval.tasks.TwoPointTask", {**settings, **wrong})


def test_what_depends_on_the_tokenizer_shows_before_anything_is_scored(evaluate, tokenizer, settings):
    # 8,000 bytes pass the check of bytes, but are fewer than 7,900 tokens
    with pytest.raises(
        L2MError, match=r"distances: 7900 is too long; the longest document has .* tokens under"
    ):
        evaluate(tokenizer, TASK, **{**settings, "distances": [1, 7900]})
    with pytest.raises(L2MError, match=r"memory_gb: 0\.001 is too small .*"):
        evaluate(tokenizer, TASK, memory_gb=0.001, **settings)


def test_a_backend_without_a_tokenizer_is_refused(evaluate, settings):
    class Chat(LM):
        def loglikelihood(self, requests):
            raise AssertionError

        loglikelihood_rolling = generate_until = loglikelihood

    with pytest.raises(L2MError, match="no tokenizer of its own"):
        evaluate(Chat(), TASK, **settings)


def test_the_tokenizer_alone_refuses_to_score(evaluate, tokenizer, settings):
    with pytest.raises(L2MError, match="l2m-tokenizer has no probabilities"):
        evaluate(tokenizer, "l2m_position_nll_text", corpus=settings["corpus"], length=50, documents=2)


def test_samples_of_the_oracle_have_the_curve_of_the_process(evaluate):
    run = evaluate(
        OracleLM(**MARKOV), "l2m_two_point_generated_process", documents=40, length=128,
        distances=[1, 2, 4], **MARKOV,
    )  # fmt: skip
    for d in (1, 2, 4):
        gap, error = run.metrics[f"two_point_gap@{d:04d}"], run.metrics[f"two_point_gap@{d:04d}_stderr"]
        assert abs(gap) < 5 * error
        assert abs(run.metrics[f"two_point_generated_mi_deviation@{d:04d}"]) < 5
    assert run.metrics["generated_tokens"] == 128
    assert {curve["name"] for curve in run.block["curves"]} == {"two_point", "two_point_generated"}


def test_a_model_that_ignores_its_context_shows_a_gap(evaluate):
    """Tokens drawn one by one from nothing have no information about each other."""

    class Forgetful(OracleLM):
        def _continue(self, context, longest, until, temperature, rng):
            return "".join(
                OracleLM._continue(self, context, 1, until, temperature, rng) for _ in range(longest)
            )

    run = evaluate(
        Forgetful(**MARKOV),
        "l2m_two_point_generated_process",
        documents=40,
        length=128,
        distances=[1, 2],
        **MARKOV,
    )
    assert (
        abs(run.metrics["two_point_generated_mi@0001"])
        < 5 * run.metrics["two_point_generated_mi@0001_stderr"]
    )
    assert run.metrics["two_point_gap@0001"] < -5 * run.metrics["two_point_gap@0001_stderr"]


def test_samples_of_a_real_model_differ_and_come_again_with_the_seed(evaluate, tiny_llama, text_folder):
    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=4, dtype="float32")
    settings = {"corpus": f"{text_folder}/document*.txt", "documents": 6, "length": 40, "distances": [1, 2]}

    def samples(seed):
        run = evaluate(lm, "l2m_two_point_generated_text", seed=seed, **settings)
        return [json.loads(s["filtered_resps"][0])["generated"] for s in run.samples]

    first = samples(1)
    assert len({tuple(ids) for ids in first}) == 6
    assert samples(1) == first
    assert samples(2) != first


def test_a_backend_that_does_not_sample_is_refused(evaluate):
    class Greedy(OracleLM):
        def _continue(self, context, longest, until, temperature, rng):
            return super()._continue(context, longest, until, 0.0, rng)

    with pytest.raises(L2MError, match="gave only 1 different texts in 4 samples"):
        evaluate(
            Greedy(**MARKOV),
            "l2m_two_point_generated_process",
            documents=4,
            length=16,
            distances=[1],
            **MARKOV,
        )


def test_samples_longer_than_the_context_are_refused(evaluate, tiny_llama, text_folder):
    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=4)
    with pytest.raises(L2MError, match="length: samples of 128 tokens do not fit the model's context"):
        evaluate(
            lm, "l2m_two_point_generated_text", corpus=f"{text_folder}/document*.txt", documents=2, length=128,
            distances=[1],
        )  # fmt: skip
