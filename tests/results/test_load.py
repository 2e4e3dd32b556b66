"""Reading saved harness results: what is in them, and what is said of files that are not."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys

import numpy as np
import pytest

import l2m_eval
from l2m_eval.errors import L2MError
from l2m_eval.results.load import latest, load_results

CURVE = {
    "name": "direct",
    "estimator": "direct",
    "ratio": 2,
    "lengths": [4, 8, 16],
    "mi": [1.0, 2.0, 4.0],
    "standard_error": [0.1, 0.2, None],
    "clusters": 7,
    "amplitude": 0.25,
    "amplitude_error": 0.02,
    "amplitude_interval": [0.2, 0.3],
    "beta": 1.0,
    "beta_error": 0.05,
    "beta_interval": [0.9, 1.1],
    "fit": "loglog",
    "not_positive": [],
    "exact": None,
    "beta_exact": None,
}
COMMON = {
    "settings": {"seed": 7, "corpus": ["books/*.txt"]},
    "sample": {"documents": 7},
    "versions": {"l2m-eval": "0.1.0"},
    "warnings": ["direct: something"],
}
BLOCKS = {
    "l2m_bipartite_text": {"schema": "l2m-eval/bipartite/1", **COMMON, "curves": [CURVE]},
    "l2m_two_point": {
        "schema": "l2m-eval/two_point/1",
        **COMMON,
        "curves": [
            {
                "name": "two_point",
                "distances": [1, 2],
                "mi": [2.0, 0.7],
                "standard_error": [0.01, 0.01],
                "interval": [[1.98, 2.02], [0.68, 0.72]],
                "floor": [0.02, 0.02],
                "documents": 3,
                "groups": 3,
                "exact": [1.9, 0.8],
                "fits": [
                    {"form": "power_law", "alpha": None, "reason": "one distance above the floor"},
                    {"form": "power_law_with_offset", "alpha": 0.9, "alpha_error": 0.1, "distances": [1, 2]},
                ],
            }
        ],
    },
    "l2m_position_nll": {
        "schema": "l2m-eval/position_nll/1",
        **COMMON,
        "curve": {
            "bins": [{"name": "1", "first": 1, "last": 1}, {"name": "2-3", "first": 2, "last": 3}],
            "nll": [5.0, 4.0],
            "standard_error": [0.2, 0.1],
            "documents": 9,
            "clusters": 9,
            "overall": {"value": 4.3, "standard_error": 0.1, "interval": [4.1, 4.5]},
            "fit": {"exponent": 0.6, "exponent_error": None, "bins": ["2-3"], "reason": ""},
        },
    },
    "l2m_condition_text": {
        "schema": "l2m-eval/condition/1",
        **COMMON,
        "curves": [CURVE],
        "check": {
            "schema": "l2m-eval/check/1",
            "check": "single-model",
            "status": "violated",
            "exit_code": 1,
            "sentence": "Violated: ...",
            "numbers": {"gamma": 0.0, "horizon": {"length": None}},
        },
    },
}


def harness_file(blocks, **changes):
    """A results file as lm-eval 0.4.13 writes it, cut down to what is read."""
    return {
        "results": {
            task: {"alias": task, "direct_beta,none": 1.0, "direct_beta_stderr,none": "N/A", "nll,none": 4.3}
            for task in blocks
        },
        "configs": {task: {"output_type": "l2m_logprobs", "l2m": block} for task, block in blocks.items()},
        "config": {
            "model": "hf",
            "model_args": {"pretrained": "/models/tiny"},
            "model_num_parameters": 1000,
            "model_dtype": "torch.bfloat16",
        },
        "date": 1.7e9,
        "model_source": "hf",
        "model_name": "/models/tiny",
        "max_length": 128,
        "total_evaluation_time_seconds": "12.5",
        "chat_template": None,
        "lm_eval_version": "0.4.13",
    } | changes


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def changed(block, **changes):
    return {**copy.deepcopy(block), **changes}


@pytest.fixture
def all_kinds(tmp_path):
    return write(tmp_path / "tiny" / "results_2026-01-01T00-00-00.000000.json", harness_file(BLOCKS))


def test_every_kind_is_read_with_its_types(all_kinds):
    bipartite, two_point, position, condition = load_results(all_kinds)
    curve = bipartite.curve("direct")
    assert curve.mi.tolist() == [1.0, 2.0, 4.0]
    assert math.isnan(curve.standard_error[2])  # null is unknown, not zero
    assert (curve.beta.value, curve.beta.standard_error, curve.beta.interval) == (1.0, 0.05, (0.9, 1.1))
    assert curve.exact is None
    (decay,) = two_point.two_point
    assert decay.interval.tolist() == [[1.98, 2.02], [0.68, 0.72]]
    assert np.isnan(decay.null).all()
    assert decay.fits[0].reason == "one distance above the floor"
    assert math.isnan(decay.fits[0].exponent.value)
    assert decay.fits[1].exponent.value == 0.9
    loss = position.position
    assert loss.names == ("1", "2-3")
    assert loss.overall.interval == (4.1, 4.5)
    assert math.isnan(loss.context_gain.value)
    assert loss.fit.exponent.value == 0.6
    assert condition.verdict.status == "violated"
    assert condition.verdict.to_json() == BLOCKS["l2m_condition_text"]["check"]
    assert condition.curve("direct").beta == curve.beta


def test_a_member_of_a_group_is_the_task_that_it_is_alone(tmp_path):
    """lm-eval 0.5 files the members of a group under GROUP::TASK; they measure what the task alone measures."""
    blocks = {f"l2m::{task}": block for task, block in BLOCKS.items()}
    in_group = load_results(write(tmp_path / "group" / "results_1.json", harness_file(blocks)))
    alone = load_results(write(tmp_path / "alone" / "results_1.json", harness_file(BLOCKS)))
    assert [one.task for one in in_group] == [one.task for one in alone]
    assert [one.metrics for one in in_group] == [one.metrics for one in alone]


def test_a_run_says_who_was_measured_and_with_what(all_kinds):
    result = load_results(all_kinds)[0]
    run = result.run
    assert (run.backend, run.model, run.label) == ("hf", "/models/tiny", "tiny")
    assert (run.parameters, run.dtype, run.max_length, run.seconds) == (1000, "bfloat16", 128, 12.5)
    assert run.date.isoformat() == "2023-11-14T22:13:20+00:00"
    assert (result.seed, result.corpus, result.sample["documents"]) == (7, "books/*.txt", 7)
    assert result.warnings == ("direct: something",)
    assert result.metrics["direct_beta"] == 1.0
    assert math.isnan(result.errors["direct_beta"])  # the harness' N/A


@pytest.mark.parametrize(
    ("config", "model", "label"),
    [
        (
            {"model_args": {"pretrained": "EleutherAI/pythia-70m"}},
            "EleutherAI/pythia-70m",
            "EleutherAI/pythia-70m",
        ),
        ({"model_args": "pretrained=./out/tiny/,dtype=float32"}, "./out/tiny/", "tiny"),
        ({"model_args": {"model": "gpt-x"}}, "gpt-x", "gpt-x"),
        ({"model_args": {"process": "copy"}}, "copy", "copy"),
        ({}, "fallback", "fallback"),
    ],
)
def test_a_model_is_named_by_its_arguments(tmp_path, config, model, label):
    data = harness_file({"l2m_bipartite": BLOCKS["l2m_bipartite_text"]}, config=config, model_name="fallback")
    run = load_results(write(tmp_path / "results_x.json", data))[0].run
    assert (run.model, run.label) == (model, label)


def test_a_folder_is_searched_and_a_glob_expanded_each_file_once(tmp_path):
    block = {"l2m_bipartite": BLOCKS["l2m_bipartite_text"]}
    write(tmp_path / "out" / "b" / "results_2.json", harness_file(block, date=2.0))
    write(tmp_path / "out" / "a" / "results_1.json", harness_file(block, date=3.0))
    write(tmp_path / "out" / "a" / "config.json", {"model_type": "llama"})
    write(tmp_path / "out" / "a" / "results_stock.json", harness_file({}) | {"results": {"arc": {}}})
    found = load_results(tmp_path / "out")
    assert [r.run.path.name for r in found] == ["results_2.json", "results_1.json"]  # by date
    assert len(load_results([tmp_path / "out", tmp_path / "out" / "b" / "results_2.json"])) == 2
    assert len(load_results(f"{tmp_path}/out/*/results_*.json")) == 2
    assert [r.run.date.timestamp() for r in latest(found)] == [3.0]


def test_brackets_and_stars_in_a_path_are_the_path(tmp_path):
    block = {"l2m_bipartite": BLOCKS["l2m_bipartite_text"]}
    literal = write(tmp_path / "out[1]" / "results_[a]*.json", harness_file(block))
    write(tmp_path / "out1" / "results_a.json", harness_file(block))
    for given in (literal, literal.parent, str(literal), str(literal.parent)):
        assert [one.run.path for one in load_results(given)] == [literal]
    assert [one.run.path.parent.name for one in load_results(f"{tmp_path}/out[12]")] == ["out1"]
    assert len(load_results(f"{tmp_path}/out*")) == 2


def test_the_harness_can_be_told_to_name_the_file_otherwise(tmp_path):
    block = {"l2m_bipartite": BLOCKS["l2m_bipartite_text"]}
    write(tmp_path / "mine_2026-01-01T00-00-00.000000.json", harness_file(block))
    assert len(load_results(tmp_path)) == 1


RECORDS = [
    {
        "cells": [[2, 2, 4], [2, 4, 8], [2, 8, 16]],
        "conditional": [-1.0, -2, -4],
        "marginal": [-2.0 - i, -4, -8],
    }
    for i in range(3)
]


def with_samples(tmp_path, lines=None):
    settings = {
        "seed": 7,
        "corpus": ["b"],
        "estimators": ["direct"],
        "process_settings": [],
        "lengths": [4, 8, 16],
    }
    block = {"l2m_bipartite": changed(BLOCKS["l2m_bipartite_text"], settings=settings)}
    file = write(tmp_path / "results_2026-01-01T00-00-00.000000.json", harness_file(block))
    samples = [
        {
            "doc": {"index": i, "source": i, "document": "b.txt", "offset": i, "sha256": str(i)},
            "filtered_resps": [json.dumps(record)],
        }
        for i, record in enumerate(RECORDS)
    ]
    lines = [json.dumps(sample) for sample in reversed(samples)] if lines is None else lines
    write(tmp_path / "samples_l2m_bipartite_2026-01-01T00-00-00.000000.jsonl", "\n".join(lines))
    return file


def test_records_beside_the_file_give_terms_and_curves_again(tmp_path):
    result = load_results(with_samples(tmp_path))[0]
    assert [doc["index"] for doc in result.documents.docs] == [0, 1, 2]  # ranks write in any order
    terms, clusters = result.bipartite_terms("direct")
    assert terms.tolist() == [[1, 2, 4], [2, 2, 4], [3, 2, 4]]
    assert clusters == [0, 1, 2]
    (curve,) = result.recomputed_curves()
    assert curve.mi.tolist() == [2, 2, 4]
    assert curve.fit.replicates.shape == (1000, 2)


def test_without_the_log_there_are_no_records(all_kinds):
    result = load_results(all_kinds)[0]
    assert result.documents is None
    assert result.recomputed_curves() is None
    assert result.bipartite_terms("direct") is None


def test_a_torn_samples_log_is_one_line(tmp_path):
    with pytest.raises(L2MError, match=r"line 1 of .* is not a complete sample of l2m_bipartite"):
        load_results(with_samples(tmp_path, ['{"doc": {"index": 0']))


@pytest.mark.parametrize("paths", ["nothing", "nothing/*.json", []])
def test_nothing_found_is_one_line(tmp_path, monkeypatch, paths):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(L2MError, match="give a results file of `lm_eval run --output_path`, a folder"):
        load_results(paths)


def test_a_folder_without_results_is_one_line(tmp_path):
    write(tmp_path / "notes.json", "no json at all")
    with pytest.raises(L2MError, match="no harness results in"):
        load_results(tmp_path)


def test_a_truncated_file_is_named_with_the_place_where_it_breaks_off(tmp_path):
    text = json.dumps(harness_file({"l2m_bipartite": BLOCKS["l2m_bipartite_text"]}), indent=1)
    for place in (tmp_path / "results_torn.json", tmp_path):  # a folder that holds one is no better
        write(tmp_path / "results_torn.json", text[:200])
        with pytest.raises(
            L2MError, match=r"results_torn.json' is not complete JSON: .* at line \d+, column \d+"
        ):
            load_results(place)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (harness_file({}) | {"results": {"arc_easy": {}, "hellaswag": {}}}, "results of arc_easy, hellaswag, none"),
        ({"some": "json"}, "is not a results file of the harness"),
        (harness_file({"t": {**COMMON, "schema": "l2m-eval/bipartite/2"}}), "l2m-eval/bipartite/2, newer than"),
        (harness_file({"t": {**COMMON, "schema": "l2m-eval/hologram/1"}}), "upgrade l2m-eval"),
        (harness_file({"t": {**COMMON, "schema": "bipartite"}}), "has the schema 'bipartite'"),
        (harness_file({"t": None}), "contains no curve of t"),
        (harness_file({"t": []}), "is not a mapping"),
        (harness_file({"t": changed(BLOCKS["l2m_bipartite_text"], curves=[])}), "has no curve"),
        (harness_file({"t": changed(BLOCKS["l2m_bipartite_text"], curves=[{**CURVE, "mi": [1.0]}])}),
         "curve 1 .* has mi of another length"),
        (harness_file({"t": changed(BLOCKS["l2m_bipartite_text"], curves=[{**CURVE, "lengths": None}])}),
         "has no lengths"),
        (harness_file({"t": changed(BLOCKS["l2m_condition_text"], check={"schema": "l2m-eval/check/9"})}),
         "'l2m-eval/check/9'"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why_in_one_line(tmp_path, data, says):
    file = write(tmp_path / "results_x.json", data)
    with pytest.raises(L2MError, match=says) as caught:
        load_results(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_curve_that_is_not_there_is_named_with_those_that_are(all_kinds):
    results = load_results(all_kinds)
    with pytest.raises(L2MError, match=r"curve: 'vclub' is not in .* it has direct"):
        results[0].curve("vclub")
    with pytest.raises(L2MError, match="holds no bipartite curve"):
        results[1].curve("direct")


def test_the_public_name_is_imported_when_it_is_used():
    assert l2m_eval.load_results is load_results
    with pytest.raises(AttributeError, match="load_reslts"):
        l2m_eval.load_reslts  # noqa: B018
    code = (
        "import sys, l2m_eval; early = 'numpy' in sys.modules; l2m_eval.load_results;"
        "print(early, {'torch', 'transformers', 'lm_eval'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False set()"
