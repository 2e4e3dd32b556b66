"""What programs that know nothing of ours find in our results: direction, data set, number of documents."""

from __future__ import annotations

import json

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable
from run_every_eval_ever import every_eval_ever

from l2m_eval.harness.registration import tasks_folder
from l2m_eval.tasks.base import dataset_of

DOCUMENTS = 6
SETTINGS = {
    "documents": DOCUMENTS,
    "lengths": [8, 16, 32],
    "length": 32,
    "distances": [1, 2],
    "resamples": 100,
}
TASKS = ["bipartite", "two_point", "two_point_generated", "position_nll", "condition", "kl"]
NAMES = [f"l2m_{kind}_process" for kind in TASKS]


def measured(kinds, metadata, facts, limit=None):
    """What the harness returns of our tasks on a known process."""
    from l2m_eval.harness.oracle import OracleLM

    return simple_evaluate(
        OracleLM(facts=facts),
        tasks=[f"l2m_{kind}_process" for kind in kinds],
        task_manager=TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=metadata),
        log_samples=False,
        limit=limit,
    )


def write(answer, folder):
    """The results file that the harness makes of it."""
    file = folder / "results_2026-01-01T00-00-00.000000.json"
    file.write_text(json.dumps(answer | {"model_name": "oracle"}, default=handle_non_serializable))
    return file


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results file of every task."""
    metadata = {**SETTINGS, "process": "santa_fe", "facts": 16, "state": {"constant": 64}}
    return write(measured(TASKS, metadata, facts=16, limit=DOCUMENTS - 1), tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def read(results):
    return json.loads(results.read_text())


def metrics(read, task):
    """Names of a task's metrics, as converters take them: numbers with a filter's name, less standard errors."""
    return [
        key.partition(",")[0]
        for key, value in read["results"][task].items()
        if "," in key and "_stderr," not in key and isinstance(value, (int, float))
    ]


@pytest.mark.parametrize("task", NAMES)
def test_every_metric_has_its_direction_or_says_that_it_has_none(read, task):
    assert set(metrics(read, task)) == set(read["higher_is_better"][task])


@pytest.mark.parametrize(
    ("task", "metric", "higher"),
    [
        ("position_nll", "nll", False),
        ("position_nll", "bits_per_byte", False),
        ("position_nll", "context_gain", True),
        ("position_nll", "nll_deviation", None),
        ("kl", "kl", False),
        ("bipartite", "direct_mi@0032", True),
        ("bipartite", "direct_beta", True),
        ("bipartite", "direct_mi_exact@0032", None),
        ("bipartite", "direct_amplitude", None),
        ("bipartite", "tokens_scored", None),
        ("condition", "l2m_margin", True),
        ("condition", "l2m_horizon", True),
        ("condition", "state_size@0032", None),
        ("two_point", "two_point_mi@0001", None),
    ],
)
def test_the_direction_is_the_right_one(read, task, metric, higher):
    assert read["higher_is_better"][f"l2m_{task}_process"][metric] is higher


@pytest.mark.parametrize("task", NAMES)
def test_the_number_of_documents_is_where_it_is_looked_for(read, task):
    assert read["n-samples"][task]["effective"] == DOCUMENTS - 1
    assert read["results"][task].get("sample_len", DOCUMENTS - 1) == DOCUMENTS - 1


@pytest.mark.parametrize("task", NAMES)
def test_the_configuration_says_what_was_measured(read, task):
    config = read["configs"][task]
    assert (config["dataset_path"], config["dataset_name"]) == ("process", "santa_fe(facts=16)")


@pytest.mark.parametrize(
    ("corpus", "path", "name", "split"),
    [
        ({"corpus": "pg19"}, "emozilla/pg19-test", None, "test"),
        ({"corpus": "wikipedia"}, "wikimedia/wikipedia", "20231101.en", "train"),
        (
            {"corpus": "hub:someone/books", "subset": "en", "split": "validation"},
            "someone/books",
            "en",
            "validation",
        ),
        # A path with a slash is taken for one of the hub, unless it begins with one.
        ({"corpus": "books/*.txt"}, "text", "books/*.txt", None),
    ],
)
def test_a_data_set_of_the_hub_is_named_as_the_hub_names_it_and_no_file_is_taken_for_one(
    corpus, path, name, split
):
    from l2m_eval.settings import BipartiteSettings, read_settings

    named = dataset_of(read_settings(BipartiteSettings, corpus))
    assert (named["dataset_path"], named.get("dataset_name"), named.get("test_split")) == (path, name, split)


def test_the_converter_of_every_eval_ever_reads_our_results(tmp_path):
    """The released program, in whatever Python it has. It refuses NaN, of a fit that does not exist, as JSON does."""
    documents = 60
    settings = {"documents": documents, "lengths": [4, 8, 16, 32, 64], "length": 256, "resamples": 100}
    answer = measured(["bipartite", "position_nll", "kl"], settings | {"facts": 256}, facts=256)
    # It asks for the developer of a model, which a name of the hub has.
    answer["config"] |= {"model": "hf", "model_args": "pretrained=someone/a-model"}
    for task, found in answer["results"].items():
        answer["results"][task] = {name: value for name, value in found.items() if value == value}
    write(answer, tmp_path)
    paths = ["--log_path", str(tmp_path), "--output_dir", str(tmp_path / "data")]
    outcome = every_eval_ever("convert", "lm_eval", *paths, "--source_organization_name", "somebody")
    assert outcome.returncode == 0, outcome.stderr
    files = list((tmp_path / "data").rglob("*.json"))
    assert every_eval_ever("validate", *files).returncode == 0
    logs = [json.loads(file.read_text()) for file in files]
    found = {
        (one["evaluation_name"].partition("/")[0], one["metric_config"]["evaluation_description"]): one
        for log in logs
        for one in log["evaluation_results"]
    }
    for task, table in answer["results"].items():
        for metric in metrics(answer, task):
            one = found[task, metric]
            higher = answer["higher_is_better"][task][metric]
            if higher is not None:
                assert one["metric_config"]["lower_is_better"] is not higher
            assert one["source_data"]["source_type"] == "other"
            assert one["score_details"]["uncertainty"]["num_samples"] == documents
            assert one["score_details"]["score"] == table[f"{metric},none"]
