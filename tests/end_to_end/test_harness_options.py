"""The harness' own options over every task we ship, and a run beside its own tasks, in as few runs as possible."""

from __future__ import annotations

import json
import math

import pytest
from lm_eval import simple_evaluate
from lm_eval.api.registry import get_model
from lm_eval.loggers import EvaluationTracker, WandbLogger
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable, make_table
from tolerances import assert_same_scores, of_log_probabilities

from l2m_eval.harness.registration import tasks_folder
from l2m_eval.results.load import load_results

KINDS = ("bipartite", "two_point", "two_point_generated", "position_nll", "condition", "context_use")
PROCESS_TASKS = [*(f"l2m_{kind}_process" for kind in KINDS), "l2m_kl_process"]
TEXT_TASKS = [f"l2m_{kind}_text" for kind in KINDS]
SETTINGS = {
    "documents": 6,
    "lengths": [8, 16, 32],
    "length": 64,
    "distances": [1, 2, 4],
    "contexts": [8, 16],
    "target": 16,
    "resamples": 100,
}
STOCK_TASKS = ["stock_choice", "stock_perplexity", "stock_generation"]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Three tasks in the harness' own format, of the three kinds of request it has."""
    folder = tmp_path_factory.mktemp("stock")
    lines = [{"text": f"A sentence, number {n}.", "answer": ["yes", "no"][n % 2]} for n in range(5)]
    (folder / "stock.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    common = f"dataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/stock.jsonl\ntest_split: test\n"
    (folder / "choice.yaml").write_text(
        f"task: stock_choice\n{common}output_type: multiple_choice\ndoc_to_text: '{{{{text}}}}'\n"
        "doc_to_choice: ['yes', 'no']\ndoc_to_target: '{{answer}}'\nmetric_list:\n  - metric: acc\n"
    )
    (folder / "perplexity.yaml").write_text(
        f"task: stock_perplexity\n{common}output_type: loglikelihood_rolling\ndoc_to_text: ''\n"
        "doc_to_target: '{{text}}'\nmetric_list:\n  - metric: byte_perplexity\n"
    )
    (folder / "generation.yaml").write_text(
        f"task: stock_generation\n{common}output_type: generate_until\ndoc_to_text: '{{{{text}}}}'\n"
        "doc_to_target: '{{answer}}'\ngeneration_kwargs:\n  until: ['.']\n  max_gen_toks: 4\n  do_sample: false\n"
        "metric_list:\n  - metric: exact_match\n"
    )
    return folder


@pytest.fixture(scope="module")
def model(tiny_llama):
    return get_model("hf").create_from_arg_string(
        f"pretrained={tiny_llama},dtype=float32", {"batch_size": 4, "device": "cpu"}
    )


@pytest.fixture(scope="module")
def run(model, stock, text_folder):
    """A run in this process with the text tasks' settings; options are those of the command line."""
    metadata = {**SETTINGS, "corpus": f"{text_folder}/*.txt"}

    def run(tasks, **options):
        return simple_evaluate(
            model,
            tasks=tasks,
            # Without the harness' own thousands of tasks, which take seconds to find.
            task_manager=TaskManager(
                include_path=[str(tasks_folder()), str(stock)], include_defaults=False, metadata=metadata
            ),
            bootstrap_iters=0,
            **options,
        )

    return run


@pytest.fixture(scope="module")
def together(run):
    """Every text task of ours and every kind of stock task in one call, with the samples logged."""
    return run([*TEXT_TASKS, *STOCK_TASKS], log_samples=True)


def assert_same_measurement(one, other, task):
    """The same metrics, from the same scores of the same documents.

    The windows of several tasks share batches, which add float32 products in another order; what follows from scores
    is compared where they are the same to the bit, in `test_distributed`.
    """
    metrics = [
        {k for k, v in answer["results"][task].items() if isinstance(v, float)} for answer in (one, other)
    ]
    assert metrics[0] == metrics[1]
    assert len(metrics[0]) > 5
    samples = [answer["samples"][task] for answer in (one, other)]
    assert [sample["doc"] for sample in samples[0]] == [sample["doc"] for sample in samples[1]]
    records = [[json.loads(sample["filtered_resps"][0]) for sample in some] for some in samples]
    assert_same_scores(*records, of_log_probabilities(64))


def test_every_task_file_is_among_those_run_here_or_needs_the_hub():
    shipped = {path.stem for path in tasks_folder().rglob("l2m*.yaml")}
    on_the_hub = {f"l2m_{kind}{corpus}" for kind in (*KINDS, "state") for corpus in ("", "_wikipedia")}
    with_runs_of_their_own = {"l2m_state_text", "l2m_state_process"}  # test_state_run
    assert shipped == {"l2m", *PROCESS_TASKS, *TEXT_TASKS, *on_the_hub, *with_runs_of_their_own}


def test_stock_tasks_are_as_when_run_alone(run, together):
    alone = run(STOCK_TASKS, log_samples=True)
    for task in STOCK_TASKS:
        assert together["results"][task] == alone["results"][task]
        assert together["samples"][task] == alone["samples"][task]


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_our_tasks_beside_stock_tasks_are_as_when_run_alone(run, together, task):
    assert_same_measurement(together, run([task], log_samples=True), task)


def test_without_bootstrap_the_harness_adds_no_standard_error_and_ours_stay(together):
    results = together["results"]
    assert results["stock_choice"]["acc_stderr,none"] == "N/A"
    assert results["l2m_bipartite_text"]["direct_mi@0032_stderr,none"] > 0


def test_results_can_be_shown_printed_and_saved(together, tmp_path):
    """What ``--show_config`` prints, the table, and the files of ``--log_samples`` and ``--hf_hub_log_args``."""
    results = {key: value for key, value in together.items() if key != "samples"}
    shown = json.loads(json.dumps(results, default=handle_non_serializable, ensure_ascii=False))
    assert shown["configs"]["l2m_bipartite_text"]["l2m"]["schema"] == "l2m-eval/bipartite/1"
    assert "direct_mi@0032" in make_table(results)
    tracker = EvaluationTracker(
        output_path=str(tmp_path), hub_results_org="someone", results_repo_name="results", public_repo=True
    )
    tracker.general_config_tracker.log_experiment_args("hf", "pretrained=tiny", None, None, False)
    tracker.save_results_aggregated(results=results, samples=together["samples"])
    for task, samples in together["samples"].items():
        tracker.save_results_samples(task_name=task, samples=samples)
    assert {one.task for one in load_results(tmp_path)} == set(TEXT_TASKS)
    assert len(list(tmp_path.rglob("samples_*.jsonl"))) == len(TEXT_TASKS + STOCK_TASKS)


def test_what_is_logged_to_weights_and_biases_can_be_made(together):
    """Its tables of results and samples, without a connection or the package itself."""
    logger = object.__new__(WandbLogger)
    logger.post_init({key: value for key, value in together.items() if key != "samples"})
    _, results = logger._sanitize_results_dict()
    assert results["l2m_bipartite_text/direct_mi@0032"] == pytest.approx(
        together["results"]["l2m_bipartite_text"]["direct_mi@0032,none"]
    )
    for task in TEXT_TASKS:
        table = logger._generate_dataset(together["samples"][task], together["configs"][task])
        assert len(table) == len(together["samples"][task])


def test_requests_are_not_cached_and_examples_and_templates_not_used(run, together, caplog):
    answer = run(
        ["l2m_bipartite_text"],
        cache_requests=True,
        rewrite_requests_cache=True,
        write_out=True,
        num_fewshot=2,
        system_instruction="Be brief.",
        log_samples=True,
    )
    assert_same_measurement(answer, together, "l2m_bipartite_text")
    for said in ("--cache_requests is not needed", "has no examples", "measures plain text"):
        assert said in caplog.text


def test_prediction_alone_keeps_the_records_and_claims_no_curve(run):
    answer = run(["l2m_bipartite_text"], predict_only=True, log_samples=True, limit=4)
    samples = answer["samples"]["l2m_bipartite_text"]
    assert [sorted(json.loads(sample["filtered_resps"][0])) != [] for sample in samples] == [True] * 4
    assert not any("mi@" in name for name in answer["results"]["l2m_bipartite_text"])
    assert answer["configs"]["l2m_bipartite_text"]["l2m"] == {}


def test_the_command_line_takes_all_options_at_once(lm_eval):
    """Every process task in one call; the whole table, the configuration and the written-out document are printed."""
    done = lm_eval(
        "--model", "l2m-oracle", "--model_args", "process=santa_fe_recall,facts=16",
        "--tasks", ",".join(PROCESS_TASKS), "--write_out", "--log_samples", "--show_config", "--seed", "7",
        "--hf_hub_log_args", "results_repo_name=results", "details_repo_name=details",
        metadata={**SETTINGS, "state": {"constant": 64}},
    )  # fmt: skip
    assert done.code == 0, done.stderr
    for task in PROCESS_TASKS:
        numeric = [value for value in done.metrics(task).values() if isinstance(value, float)]
        assert sum(map(math.isfinite, numeric)) > 1, task
        assert done.results["configs"][task]["l2m"]["settings"]["seed"] == 7
        assert len(done.samples(task)) > 1
        assert f"|{task}" in done.stdout
    assert '"l2m-eval/bipartite/1"' in done.stdout
    assert done.stderr.count("context prompt (starting on next line)") == len(PROCESS_TASKS)
