"""The command that a report names leads back to the settings that were used, for every task that is shipped."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import l2m_eval.tasks
from l2m_eval.harness.registration import tasks_folder
from l2m_eval.report.reproduce import reproducing_command
from l2m_eval.results.run import Results, Run
from l2m_eval.settings import DEFAULT_SEED, TASK_KINDS, TaskKind, read_settings, task_kind
from l2m_eval.tasks.base import MeasurementTask
from l2m_eval.tasks.kl import KLTask
from l2m_eval.tasks.position import PositionTask

TASKS = sorted(Path(tasks_folder()).rglob("l2m_*.yaml"))

# A value of each setting that is the default of no task.
OTHER: dict[str, Any] = {
    "corpus": ["books/*.txt", "more/*.txt"], "column": "content", "subset": "en", "split": "train", "documents": 50,
    "chunk_bytes": 4096, "partners": 3, "process": "copy", "seed": 7, "lengths": [8, 16, 32], "ratios": [2, 4],
    "blocks": 2, "estimators": ["direct"], "marginal": "independent", "correction": "ngram", "control_variate": False,
    "fit": "wls", "resamples": 333, "results": "out/model", "reference": "pg19-llama-3.1-405b-vclub",
    "state": {"formula": "2*L"}, "check_curve": "direct_r4", "nats_per_element": 0.5, "length": 512,
    "state_results": "out/states", "curve": "full", "fit_from": 8, "fit_to": 32, "distances": [1, 2, 64],
    "entropy_estimator": "plugin",
    "null_correction": "shift", "shuffles": 9, "pair_marginals": "global", "jackknife_groups": 16,
    "memory_gb": 1.5, "processes": 2, "memory": 64, "claimed_context": 4096, "contexts": [0, 16, 64], "target": 100,
    "shares": [0.5, 0.8], "states": ["bits5", "window7"], "keep": 0.8,
    "short_documents": "keep",
}  # fmt: skip


class _Loader(yaml.SafeLoader):
    """A task's YAML without the harness: functions by their names."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def configuration(file: Path) -> dict[str, Any]:
    given = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    if "include" in given:
        given = configuration(file.with_name(given["include"])) | given
    return dict(given)


def results_of(kind: TaskKind, task: str, settings: Any) -> Results:
    """Results as they are read back: the settings went through JSON."""
    used = asdict(settings) | {"seed": settings.seed if settings.seed is not None else DEFAULT_SEED}
    run = Run(
        Path("r.json"), "hf", "m", {"pretrained": "m"}, None, 0.0, None, "", "", None, None, None, "", {}
    )
    names = ["two_point", "two_point_generated"] if kind.name == "two_point_generated" else ["two_point"]
    curves: Any = tuple(SimpleNamespace(name=name) for name in names) if kind.curves == "two_point" else ()
    return Results(
        run, task, kind.curves, kind.schema, json.loads(json.dumps(used)), {}, {}, (), {}, {}, two_point=curves
    )  # fmt: skip


@pytest.mark.parametrize("changed", [False, True], ids=["as shipped", "every setting changed"])
@pytest.mark.parametrize("file", TASKS, ids=lambda file: file.stem)
def test_the_command_of_a_task_has_the_settings_of_its_results(file, changed):
    shipped = configuration(file)
    kind = task_kind(shipped["class"])
    known = {f.name for f in fields(kind.settings) if "read" in f.metadata}
    given = {key: OTHER[key] for key in known} if changed else {}
    if kind.name == "kl" and changed:
        given["corpus"] = "process"
    if changed and given["corpus"] == "process":
        given["noise"] = 0.25  # a setting of the process, read along with the task's
    settings = read_settings(kind.settings, shipped["metadata"] | given)
    command = shlex.split(reproducing_command(results_of(kind, shipped["task"], settings)))
    assert command[command.index("--tasks") + 1] == shipped["task"]
    metadata = json.loads(command[command.index("--metadata") + 1])
    again = read_settings(kind.settings, shipped["metadata"] | metadata)
    assert asdict(again) | {"seed": again.seed or DEFAULT_SEED} == asdict(settings) | {
        "seed": settings.seed or DEFAULT_SEED
    }
    if changed:
        defaults = {f.name: f.default for f in fields(settings)}
        assert all(getattr(settings, key) != defaults[key] for key in known - {"corpus"})


def test_a_task_of_one_corpus_measures_another_that_was_given():
    """The corpus of the YAML is not that of the run, also where the run's is the default of the class."""
    settings = read_settings(task_kind("BipartiteTask").settings, {"corpus": "pg19"})
    command = reproducing_command(results_of(task_kind("BipartiteTask"), "l2m_bipartite_process", settings))
    assert '"corpus": "pg19"' in command


def test_every_task_class_has_a_row_in_the_registry_and_every_row_a_class_and_a_yaml():
    classes = {name: getattr(l2m_eval.tasks, name) for name in l2m_eval.tasks.__all__} | {"KLTask": KLTask}
    assert set(classes) == {kind.task for kind in TASK_KINDS}
    assert all(issubclass(one, MeasurementTask) for one in classes.values())
    assert {task_kind(configuration(file)["class"]) for file in TASKS} == set(TASK_KINDS)


@pytest.mark.parametrize("corpus", ["process", "files"])
def test_the_command_draws_the_same_documents_where_the_default_length_was_cut_to_the_model(corpus, tmp_path):
    """Chunks are cut for the length that was asked for, and a shorter one would draw others."""
    text = "It was a bright day, and the clocks struck one. " * 4000
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"Of {number}. {text[number * 7 :]}", encoding="utf-8")
    given = {"corpus": "process" if corpus == "process" else f"{tmp_path}/*.txt", "documents": 3, "seed": 5}
    config = {"task": "l2m_position_nll_text", "metadata": given}
    task = PositionTask(config)
    fits = {"tokens_scored": 8, "ends": [1, 3, 7], "bytes": [4, 8, 16], "sums": [-3.0, -5.0, -9.0]}
    items = [
        task.document_terms(doc, json.dumps(fits | {"sums": [-3.0, -5.0, -9.0 - doc["index"]]}))["nll"]
        for doc in task.docs
    ]
    task.aggregated("nll", items)
    block = json.loads(json.dumps(task.results_block))
    assert block["settings"]["length"] == 7  # what was measured
    kind = task_kind("PositionTask")
    results = replace(
        results_of(kind, config["task"], task.settings), settings=block["settings"], block=block
    )
    command = shlex.split(reproducing_command(results))
    metadata = json.loads(command[command.index("--metadata") + 1])
    again = PositionTask({**config, "metadata": metadata})
    assert [doc["sha256"] for doc in again.docs] == [doc["sha256"] for doc in task.docs]


@pytest.mark.parametrize(
    ("kind", "name"), [("BipartiteTask", "lengths"), ("StateTask", "lengths"), ("ContextUseTask", "contexts")]
)
def test_the_command_says_auto_where_the_lengths_followed_the_model(kind, name):
    """The numbers measured may end before those that the chunks were cut for."""
    given = {"corpus": "process", name: "auto", "max_length": 512}
    settings = read_settings(task_kind(kind).settings, given)
    results = results_of(task_kind(kind), "l2m_task", settings)
    measured = results.settings | {name: [256, 510]}
    read = replace(results, settings=measured, block={"set_by_the_run": [name]})
    command = shlex.split(reproducing_command(read))
    told = json.loads(command[command.index("--metadata") + 1])
    assert told == {"corpus": "process", name: "auto"}
    assert read_settings(task_kind(kind).settings, {**told, "max_length": 512}) == settings


def test_results_older_than_several_blocks_are_repeated_with_one():
    settings = read_settings(task_kind("BipartiteTask").settings, {"corpus": "process"})
    results = results_of(task_kind("BipartiteTask"), "l2m_bipartite_process", settings)
    assert "blocks" not in reproducing_command(results)
    older = {key: value for key, value in results.settings.items() if key != "blocks"}
    assert '"blocks": 1' in reproducing_command(replace(results, settings=older))
