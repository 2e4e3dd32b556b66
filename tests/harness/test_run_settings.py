"""Settings come from YAML, ``--metadata`` and ``--seed``; the model's arguments are the model's."""

from __future__ import annotations

import logging
import sys

import pytest

from l2m_eval.errors import L2MError
from l2m_eval.fields import readers
from l2m_eval.harness.run_settings import RunMetadata, settings_among, settings_from_model
from l2m_eval.settings import TASK_KINDS

FACTS = 64
MEASURED = {"documents": 4, "lengths": [8, 16], "resamples": 100}
# Of every setting that any task has, a value that no default has.
OTHER = {name: "7" for kind in TASK_KINDS for name in readers(kind.settings)} | {
    "pretrained": "no-such-model"
}


@pytest.fixture(autouse=True)
def no_tasks_of_others(monkeypatch, tmp_path):
    """The harness' own tasks take seconds to find each time; here it has none."""
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(
        sys.modules[TaskManager.__module__], "__file__", str(tmp_path / "none" / "manager.py")
    )
    (tmp_path / "none").mkdir()


def run_of(model_args: dict, tasks: list[str], metadata: dict, include_path: str | None = None):
    """The tasks of a run as the command line makes them, up to the model."""
    from lm_eval.config.evaluate_config import EvaluatorConfig
    from lm_eval.tasks import get_task_dict

    config = EvaluatorConfig(
        model="l2m-oracle", model_args=model_args, tasks=tasks, metadata=metadata, include_path=include_path
    )._configure()
    manager = config.process_tasks(config.metadata)
    return get_task_dict(config.tasks, manager)


@pytest.mark.parametrize(
    ("given", "seed"),
    [({}, None), ({"seed": 7}, 7), ({"seed": 5}, 5)],
    ids=["of the model alone", "the same in both", "another in metadata"],
)
def test_a_seed_of_the_model_is_not_the_samples(given, seed):
    model_args = {"process": "santa_fe", "facts": FACTS, "seed": 7}
    (task,) = run_of(model_args, ["l2m_bipartite_process"], MEASURED | given).values()
    assert task.settings.seed == seed
    assert dict(task.settings.process_settings) == {"facts": FACTS}


def test_the_same_from_python():
    from lm_eval import simple_evaluate

    results = simple_evaluate(
        model="l2m-oracle",
        model_args=f"process=santa_fe,facts={FACTS},seed=7",
        tasks=["l2m_bipartite_process"],
        metadata=dict(MEASURED),
    )
    settings = results["configs"]["l2m_bipartite_process"]["l2m"]["settings"]
    assert settings["seed"] == 1234
    assert dict(settings["process_settings"]) == {"facts": FACTS}


def test_a_setting_that_is_wrong_is_said_before_the_model_is_loaded_from_python_too():
    from lm_eval import simple_evaluate

    with pytest.raises(L2MError, match="documents"):
        simple_evaluate(
            model="hf",
            model_args={"pretrained": "no-such-model"},
            tasks=["l2m_bipartite_process"],
            metadata={"documents": "many"},
        )


@pytest.mark.parametrize("kind", TASK_KINDS, ids=lambda kind: kind.name)
def test_no_argument_of_a_model_is_a_setting(kind):
    taken = settings_from_model("hf", OTHER, {})
    assert not set(taken) & set(readers(kind.settings))
    assert taken["pretrained"] == "no-such-model"


def test_of_the_oracle_the_process_and_its_own_parameters_are_taken():
    own = {"process": "santa_fe", "beta": 0.5, "facts": 8}
    assert settings_from_model("l2m-oracle", own | {"seed": 3, "memory": 4, "persistence": 0.5}, {}) == own
    # Without a name it is the default process, whose parameters they are.
    assert settings_from_model("l2m-oracle", {"facts": 8}, {}) == {"process": "santa_fe", "facts": 8}
    # Another process by name is not told parameters of this one.
    assert settings_from_model("l2m-oracle", own, {"process": "gaussian_recall"}) == {}


def test_other_peoples_tasks_get_what_the_harness_merges():
    merged = RunMetadata({"seed": 7, "x": 1}, ours={"x": 1})
    assert merged == {"seed": 7, "x": 1}
    assert settings_among(merged) == {"x": 1}
    assert settings_among({"seed": 7}) == {"seed": 7}  # a task manager of the user's own
    assert settings_among(None) == {}


def test_settings_of_the_yaml_stand_beside_arguments_of_the_model(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "task: mine\nclass: !function l2m_eval.tasks.BipartiteTask\noutput_type: l2m_logprobs\n"
        "metadata: {version: 1.0, corpus: process, seed: 5, documents: 3}\n"
    )
    (task,) = run_of({"facts": FACTS, "seed": 7, "documents": 9}, ["mine"], {}, str(tmp_path)).values()
    assert (task.settings.seed, task.settings.documents) == (5, 3)


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "is not a setting" in record.getMessage()]


@pytest.mark.parametrize(
    ("tasks", "given", "said"),
    [
        ("l2m_bipartite_process,l2m_position_nll_process", {"lengths": [8, 16], "length": 16}, []),
        (
            "l2m_bipartite_process",
            {"lengths": [8, 16], "length": 16},
            ["l2m-eval: length is not a setting of l2m_bipartite_process, which has lengths"],
        ),
        (
            "l2m_bipartite_process,l2m_condition_process",
            {"distances": [4]},
            ["l2m-eval: distances is not a setting of l2m_bipartite_process, l2m_condition_process"],
        ),
    ],
)
def test_a_setting_that_no_task_of_the_run_has_is_said_once(caplog, tasks, given, said):
    with caplog.at_level(logging.WARNING):
        run_of({"facts": FACTS, "memory_gb": 4}, tasks.split(","), given)
    assert messages(caplog) == said
