"""`lm_eval run --tasks l2m_bipartite_text` on real models, from the command line to the results file."""

import json

import numpy as np
import pytest
from lm_eval.models.huggingface import HFLM
from tolerances import of_log_probabilities

from l2m_eval.errors import L2MError
from l2m_eval.settings import BipartiteSettings, read_settings

LENGTHS = [4, 8, 16, 32, 64]
TASK = "l2m_bipartite_text"


@pytest.fixture(scope="module")
def hf(lm_eval, tiny_llama, text_folder):
    def run(*arguments, task=TASK, **metadata):
        return lm_eval(
            "--model", "hf", "--model_args", f"pretrained={tiny_llama},dtype=float32", "--device", "cpu",
            "--tasks", task, *arguments,
            metadata={"corpus": f"{text_folder}/*.txt", "documents": 9, "lengths": LENGTHS, **metadata},
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def here(evaluate, tiny_llama, text_folder):
    """The same in this process, without the command's start."""

    def run(batch_size="4", limit=None, **metadata):
        lm = HFLM(pretrained=str(tiny_llama), dtype="float32", device="cpu", batch_size=batch_size)
        told = {"corpus": f"{text_folder}/*.txt", "documents": 9, "lengths": LENGTHS, **metadata}
        return evaluate(lm, TASK, limit=limit, **told)

    return run


@pytest.fixture(scope="module")
def reference(hf):
    run = hf("--batch_size", "4", "--log_samples")
    assert run.code == 0, run.stderr
    return run


def test_every_metric_is_a_number_with_its_standard_error(reference):
    metrics = reference.metrics(TASK)
    for curve in ("direct", "vclub"):
        names = [f"{curve}_mi@{length:04d}" for length in LENGTHS] + [f"{curve}_beta", f"{curve}_amplitude"]
        for name in names:
            assert isinstance(metrics[name], float), name
            assert isinstance(metrics[f"{name}_stderr"], float), name
        for length in LENGTHS:
            assert metrics[f"{curve}_mi@{length:04d}_stderr"] > 0
    assert "direct_mi@0064" in reference.stdout
    stderr_column = [
        line.split("|")[-2].strip() for line in reference.stdout.splitlines() if "direct_mi@0064" in line
    ]
    assert float(stderr_column[0]) == pytest.approx(
        metrics["direct_mi@0064_stderr"], abs=1e-4
    )  # four digits are printed


def test_tokens_scored_are_those_of_the_windows(reference):
    """At each place where blocks begin: one window of the text from there on, and two more for each block."""
    records = [json.loads(sample["filtered_resps"][0]) for sample in reference.samples(TASK)]
    assert all(record["blocks"] == [5, 4, 1, 1, 1] for record in records)

    def windows(lengths):
        lefts = [length // 2 for length in lengths]
        return (lengths[-1] + 1) + sum(left + 1 for left in lefts) + sum(2 * left + 1 for left in lefts)

    expected = windows(LENGTHS) + 3 * windows(LENGTHS[:2]) + windows(LENGTHS[:1])
    # Equal windows of short blocks are scored once: those of two tokens, in at most five blocks of a document.
    assert expected - 5 * 3 <= reference.metrics(TASK)["tokens_scored"] <= expected
    assert reference.metrics(TASK)["tokens_scored"] <= 1.6 * windows(LENGTHS)
    curve = reference.results["configs"][TASK]["l2m"]["curves"][0]
    assert curve["blocks"] == [5, 4, 1, 1, 1]


def test_the_results_file_says_all_that_is_needed_to_repeat_it(reference):
    block = reference.results["configs"][TASK]["l2m"]
    assert block["schema"] == "l2m-eval/bipartite/1"
    assert block["settings"]["seed"] == 1234
    assert block["settings"]["lengths"] == LENGTHS
    assert block["settings"]["correction"] == "none"
    assert block["sample"]["documents"] == 9
    assert block["sample"]["source_documents_too_short"] == 1
    assert {"l2m-eval", "lm_eval", "torch", "transformers"} <= set(block["versions"])
    curve = block["curves"][0]
    assert curve["name"] == "direct"
    assert len(curve["mi"]) == len(curve["standard_error"]) == len(curve["lengths"])
    assert [shape["shape"] for shape in curve["shapes"]] == [
        "power law", "logarithm", "straight line", "saturation",
    ]  # fmt: skip
    assert sum(shape["best_share"] for shape in curve["shapes"]) == pytest.approx(1)
    assert all(0 < shape["p_value"] <= 1 for shape in curve["shapes"] if shape["p_value"] is not None)


def test_every_figure_can_be_recomputed_from_the_samples_log(reference):
    from l2m_eval.measurements.bipartite import bipartite_curves

    samples = reference.samples(TASK)
    records = [json.loads(sample["filtered_resps"][0]) for sample in samples]
    settings = read_settings(BipartiteSettings, {"lengths": LENGTHS})
    curves = bipartite_curves(records, [sample["doc"] for sample in samples], settings, seed=1234)
    metrics = reference.metrics(TASK)
    for curve in curves:
        for point, length in enumerate(curve.lengths):
            assert metrics[f"{curve.name}_mi@{length:04d}"] == pytest.approx(curve.mi[point], abs=1e-9)
        assert metrics[f"{curve.name}_beta"] == pytest.approx(curve.fit.exponent.value, abs=1e-9, nan_ok=True)
        assert metrics[f"{curve.name}_beta_stderr"] == pytest.approx(
            curve.fit.exponent.standard_error, abs=1e-9, nan_ok=True
        )


def test_the_log_is_sums_and_not_thousands_of_floats(reference):
    for sample in reference.samples(TASK):
        assert len(json.dumps(sample)) < 8000


def test_a_documents_own_direct_terms_average_to_the_estimate(reference):
    own = [sample["direct_mi@0064"] for sample in reference.samples(TASK)]
    assert np.mean(own) == pytest.approx(reference.metrics(TASK)["direct_mi@0064"], abs=1e-9)


@pytest.mark.parametrize("batch_size", ["1", "auto"])
def test_the_batch_size_does_not_matter(here, reference, batch_size):
    other = here(batch_size).metrics
    for name, value in reference.metrics(TASK).items():
        if "@" in name and isinstance(value, float):
            assert other[name] == pytest.approx(value, abs=of_log_probabilities(32, sums=4)), name


def test_the_estimate_is_that_of_a_loop_over_documents(reference, tiny_llama, text_folder):
    """The whole chain against the definition: every log-probability by its own plain forward pass."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)

    def log_prob(context, target):
        ids = torch.tensor([[0, *context, *target]])
        with torch.no_grad():
            log_probs = torch.log_softmax(model(ids).logits[0].double(), -1)
        start = 1 + len(context)
        return sum(log_probs[t - 1, ids[0, t]].item() for t in range(start, ids.shape[1]))

    texts = {}
    docs = [sample["doc"] for sample in reference.samples(TASK)]
    for doc in docs:
        text = (text_folder / doc["document"]).read_text(encoding="utf-8")[doc["offset"] :]
        texts[doc["index"]] = tokenizer(text, add_special_tokens=False)["input_ids"][:64]
    direct, vclub = [], []
    for doc in docs:
        w, v = texts[doc["index"]], texts[doc["partner_index"][0]]
        conditional, marginal = log_prob(w[:32], w[32:]), log_prob([], w[32:])
        direct.append(conditional - marginal)
        variate = marginal - log_prob([], v[32:])
        vclub.append(conditional - log_prob(w[:32], v[32:]) - variate)
    metrics = reference.metrics(TASK)
    rounding = of_log_probabilities(32, sums=4)
    assert metrics["direct_mi@0064"] == pytest.approx(np.mean(direct), abs=rounding)
    assert metrics["vclub_mi@0064"] == pytest.approx(np.mean(vclub), abs=rounding)


def test_limit_measures_a_prefix_of_the_documents(hf, reference):
    limited = hf("--limit", "5", "--log_samples")
    whole = {sample["doc"]["index"]: sample for sample in reference.samples(TASK)}
    samples = limited.samples(TASK)
    assert sorted(sample["doc"]["index"] for sample in samples) == [0, 1, 2, 3, 4]
    for sample in samples:
        other = whole[sample["doc"]["index"]]
        assert sample["doc"] == other["doc"]
        assert sample["direct_mi@0064"] == pytest.approx(
            other["direct_mi@0064"], abs=of_log_probabilities(32, sums=2)
        )
    # Document 4's partner is document 5, which is not measured: its marginal is scored beside it.
    metrics = limited.metrics(TASK)
    assert np.isfinite(metrics["vclub_mi@0064"])
    assert metrics["vclub_mi@0064_stderr"] > 0


def test_samples_choose_documents_by_number(hf, reference):
    chosen = hf("--samples", json.dumps({TASK: [1, 6]}), "--log_samples")
    assert chosen.code == 0, chosen.stderr
    whole = {sample["doc"]["index"]: sample["direct_mi@0064"] for sample in reference.samples(TASK)}
    for sample in chosen.samples(TASK):
        assert sample["direct_mi@0064"] == pytest.approx(
            whole[sample["doc"]["index"]], abs=of_log_probabilities(32, sums=2)
        )
    assert {sample["doc"]["index"] for sample in chosen.samples(TASK)} == {1, 6}


def test_the_seed_of_the_command_line_is_the_seed_of_the_sample(hf, reference):
    other = hf("--seed", "7", "--log_samples")
    assert other.results["configs"][TASK]["l2m"]["settings"]["seed"] == 7
    places = [sample["doc"]["offset"] for sample in other.samples(TASK)]
    assert places != [sample["doc"]["offset"] for sample in reference.samples(TASK)]


def test_the_published_procedure_has_the_larger_error(hf, reference):
    published = hf(documents=4, marginal="independent", correction="ngram", control_variate=False)
    assert published.code == 0, published.stderr
    metrics, ours = published.metrics(TASK), reference.metrics(TASK)
    for curve in ("direct", "vclub"):
        name = f"{curve}_mi@0064_stderr"
        # Four documents against nine explain a factor of 1.5, and the published pairs the rest.
        assert metrics[name] > 1.6 * ours[name]
    block = published.results["configs"][TASK]["l2m"]
    assert block["sample"]["pairs"] == "separate"
    assert block["ngram_entropy"]["value"] > 0


def test_other_ratios_are_curves_of_their_own(here):
    metrics = here(ratios=[2, 3, 4], lengths=[12, 24, 48], estimators=["direct"]).metrics
    for name in (
        "direct_mi@0048",
        "direct_r3_mi@0048",
        "direct_r4_mi@0048",
        "direct_r3_beta",
        "direct_r4_amplitude",
    ):
        assert name in metrics
    assert not any(name.startswith("vclub") for name in metrics)


def test_default_lengths_are_capped_by_the_context_with_a_note(here, caplog):
    # The documents have no sixteen kilobytes for 2048 tokens, but more than enough for the model's 128.
    metrics = here(limit=2, lengths=None, chunk_bytes=1024).metrics
    assert "direct_mi@0128" in metrics
    assert "direct_mi@0256" not in metrics
    assert "lengths up to 128 fit the model's context" in caplog.text


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"corpus": "nothing/*.txt"}, "corpus: no file matches 'nothing/*.txt'"),
        ({"documents": 0}, "documents: 0 is not accepted"),
        ({"lengths": [5]}, "lengths: 5 is not divisible by ratio 2"),
        ({"estimators": ["vlub"]}, "nearest: vclub"),
        ({"document": 5}, "did you mean documents?"),
        ({"documents": 1}, "documents: 1 is too few"),
        ({"lengths": [4096]}, "no document is long enough"),
    ],
)
def test_a_mistake_is_refused_before_any_model_is_loaded(refusal, text_folder, metadata, says):
    told = {"corpus": f"{text_folder}/*.txt", "documents": 12, "lengths": LENGTHS, **metadata}
    assert says in refusal(TASK, **told)


def test_a_mistake_is_one_line_of_the_command(hf):
    run = hf(documents=0)
    assert run.code != 0
    assert run.error.startswith("l2m-eval: error: documents: 0 is not accepted")
    assert "Traceback" not in run.stderr
    assert "Initializing hf model" not in run.stderr


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"lengths": [256]}, "lengths: 256 is over the model's context: 128 tokens"),
        ({"lengths": [128], "chunk_bytes": 64}, "128 are needed; set chunk_bytes to"),
    ],
)
def test_what_only_the_model_can_tell_is_one_line_too(here, metadata, says):
    with pytest.raises(L2MError, match=says):
        here(**metadata)


def test_malformed_metadata_is_refused(lm_eval, tiny_llama):
    run = lm_eval(
        "--model", "hf", "--model_args", f"pretrained={tiny_llama}", "--tasks", TASK, "--metadata", "{broken",
    )  # fmt: skip
    assert run.code != 0


def test_the_hub_out_of_reach_is_one_line(lm_eval, tiny_llama):
    run = lm_eval("--model", "hf", "--model_args", f"pretrained={tiny_llama}", "--tasks", "l2m_bipartite")
    assert run.code != 0
    assert "emozilla/pg19-test" in run.error
    assert "Offline, measure files of your own" in run.error
    assert "Traceback" not in run.stderr


def test_a_known_process_is_measured_beside_its_exact_curve(lm_eval):
    """The README's first command: the oracle over the mixing Santa Fe process, against its closed form."""
    task = "l2m_bipartite_process"
    run = lm_eval(
        "--model", "l2m-oracle", "--model_args", "process=santa_fe,beta=0.75,facts=1024,flip_rate=0.1",
        "--tasks", task, metadata={"documents": 400, "lengths": [16, 64, 256]},
    )  # fmt: skip
    assert run.code == 0, run.stderr
    metrics = run.metrics(task)
    for length in (16, 64, 256):
        # Four standard errors: one false alarm in 16,000 seeds.
        assert abs(metrics[f"direct_mi_deviation@{length:04d}"]) < 4
        assert metrics[f"vclub_mi@{length:04d}"] > metrics[f"direct_mi_exact@{length:04d}"]  # an upper bound
    assert abs(metrics["direct_beta"] - metrics["direct_beta_exact"]) < 4 * metrics["direct_beta_stderr"]
    assert metrics["direct_beta_stderr"] > 0


def test_a_process_that_does_not_exist_is_one_line(lm_eval):
    run = lm_eval(
        "--model", "l2m-oracle", "--tasks", "l2m_bipartite_process", metadata={"process": "santa_fee"}
    )  # fmt: skip
    assert run.code != 0
    assert "process: 'santa_fee' is not known (nearest: santa_fe" in run.error
