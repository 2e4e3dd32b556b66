"""Release policies: each requirement met, missed or open where its interval says so; bad policies in one line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from planted_runs import EXAMPLES, planted, write_bipartite, write_position

from l2m_eval.cli.main import main
from l2m_eval.errors import L2MError
from l2m_eval.report.release import release_junit
from l2m_eval.results.headline import named_quantity
from l2m_eval.results.load import load_results
from l2m_eval.results.policy import FAIL, OPEN, PASS, Outcome, exit_code, judge, read_policy

LLAMA = [EXAMPLES / "results" / "books-llama-5m", EXAMPLES / "results" / "check" / "books-llama-5m"]


@pytest.fixture(scope="module")
def llama():
    return load_results(LLAMA)


@pytest.fixture(scope="module")
def swa():
    return load_results(
        [EXAMPLES / "results" / "books-swa64-5m", EXAMPLES / "results" / "check" / "books-swa64-5m"]
    )


def policy(tmp_path, *requirements, **more):
    file = tmp_path / "policy.yaml"
    file.write_text(
        yaml.safe_dump({"requirements": {str(i): one for i, one in enumerate(requirements)}, **more})
    )
    return read_policy(file)


def statuses(tmp_path, results, *requirements, reference=()):
    return [one.status for one in judge(policy(tmp_path, *requirements), results, reference)]


@pytest.mark.parametrize("name", ["beta", "mi", "bits_per_byte"])
def test_a_bound_is_met_missed_or_open_by_the_interval(tmp_path, llama, name):
    low, high = named_quantity(llama, name).estimate.interval
    inside, above, below = (low + high) / 2, high * 1.001, low * 0.999
    assert statuses(
        tmp_path,
        llama,
        *({"quantity": name, "at_least": bound} for bound in (below, inside, above)),
        *({"quantity": name, "at_most": bound} for bound in (below, inside, above)),
    ) == [PASS, OPEN, FAIL, FAIL, OPEN, PASS]


def test_an_effective_context_is_a_lower_bound_and_a_claim_is_exact(tmp_path):
    write_bipartite(tmp_path / "out", "m", planted(0.4), claimed_context=512)
    results = load_results(tmp_path / "out")  # grows to the 128 tokens measured
    share = [
        {"quantity": "effective_context", "at_least": {"share": s, "of": "claimed_context"}}
        for s in (0.25, 0.5)
    ]
    assert statuses(tmp_path, results, *share) == [PASS, OPEN]
    claims = [{"quantity": "claimed_context", "at_least": bound} for bound in (512, 513)]
    assert statuses(tmp_path, results, *claims) == [PASS, FAIL]


def test_the_reference_the_condition_the_documents(tmp_path, llama, swa):
    beta = {"quantity": "beta", "worse_than_reference_by": 0.05}
    condition, documents = {"check": "condition"}, {"quantity": "documents", "at_least": 34}
    assert statuses(tmp_path, llama, beta, condition, documents, reference=swa) == [PASS, PASS, FAIL]
    assert statuses(tmp_path, swa, beta, condition, documents, reference=llama) == [FAIL, FAIL, PASS]


@pytest.mark.parametrize(("rise", "status"), [(-0.3, PASS), (0.4, FAIL), (0.05, OPEN)])
def test_a_loss_that_rises_is_found_where_it_is_planted(tmp_path, rise, status):
    """Twenty documents whose loss changes by `rise` from the second to the third bin, with noise of 0.1 each."""
    import numpy as np

    file = write_position(tmp_path / "out", "m", 3.0)
    log = next(file.parent.glob("samples_*"))
    rng, lines = np.random.default_rng(1), []
    for line in log.read_text().splitlines():
        sample = json.loads(line)
        record = json.loads(sample["filtered_resps"][0])
        losses = np.array([3.0, 2.6, 2.6 + rise, 2.0]) + 0.1 * rng.normal(size=4)
        record["sums"] = (-losses * [1, 2, 4, 8]).tolist()
        lines.append(json.dumps({**sample, "filtered_resps": [json.dumps(record)]}))
    log.write_text("\n".join(lines))
    results = load_results(tmp_path / "out")
    check = {"check": "loss_never_rises", "by": 0.05, "from": 1}
    (found,) = judge(policy(tmp_path, check), results)
    assert found.status == status
    if status == FAIL:
        assert "from positions 2-3 to 4-7" in found.sentence
        assert found.estimate.interval[0] < rise < found.estimate.interval[1]


def test_results_older_than_their_weights_or_of_another_revision_are_found(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"x")
    write_bipartite(tmp_path / "out", str(model), planted(0.4), date=1.7e9)
    results = load_results(tmp_path / "out")
    for changed, status in ((1.6e9, PASS), (1.8e9, FAIL)):
        os.utime(model / "model.safetensors", (changed, changed))
        assert statuses(tmp_path, results, {"check": "weights"}) == [status]
    shutil.rmtree(model)
    assert statuses(tmp_path, results, {"check": "weights"}) == [OPEN]
    (file,) = (tmp_path / "out").rglob("results_*.json")
    data = json.loads(file.read_text())
    data["config"]["model_sha"] = "0123abcdef"
    file.write_text(json.dumps(data))
    revisions = ({"check": "weights", "revision": sha} for sha in ("0123abcd", "ffff"))
    assert statuses(tmp_path, load_results(tmp_path / "out"), *revisions) == [PASS, FAIL]


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ({"quantity": "beta", "at_lest": 1}, "'at_lest' is not known; did you mean 'at_least'"),
        ({"check": "conditoin"}, "check 'conditoin' is not known; did you mean 'condition'"),
        ({"check": "condition", "by": 1}, "check condition: 'by' is not known"),
        ({"quantity": "beta"}, "give a quantity with one of at_least"),
        ({"quantity": "beta", "at_least": 1, "at_most": 2}, "give a quantity with one of at_least"),
        ({"quantity": "beta", "at_least": "much"}, "at_least 'much' is not a number"),
        ({"quantity": "beta", "worse_than_reference_by": -1}, "worse_than_reference_by -1 is not accepted"),
        ({"quantity": "beta", "at_least": {"share": 0.5}}, "at_least of what"),
        ("beta", "'beta' is none; give quantity and at_least"),
    ],
)
def test_a_requirement_that_is_none_is_one_line_with_the_nearest_word(tmp_path, requirement, message):
    with pytest.raises(L2MError, match=f"requirement '0'.*{re.escape(message)}"):
        policy(tmp_path, requirement)


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [", "not valid YAML at line 1"), ("[]", "no requirements"), ("requirements: {}", "one or")],
)
def test_a_file_that_is_no_policy_is_one_line(tmp_path, content, message):
    (tmp_path / "policy.yaml").write_text(content)
    with pytest.raises(L2MError, match=message):
        read_policy(tmp_path / "policy.yaml")


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ({"quantity": "kl", "at_most": 1}, "measure it with l2m_kl_process"),
        ({"quantity": "beta", "at_least": {"share": 1, "of": "context_needed@0.95"}}, "l2m_context_use"),
        ({"quantity": "direct_bta", "at_least": 1}, "did you mean 'direct_beta'"),
        ({"check": "loss_never_rises"}, "measure it with l2m_position_nll"),
        ({"check": "condition"}, "measure it with l2m_condition"),
        ({"quantity": "beta", "worse_than_reference_by": 0.1}, "give --reference RESULTS"),
    ],
)
def test_what_was_not_measured_is_refused_with_the_task_that_measures_it(tmp_path, requirement, message):
    write_bipartite(tmp_path / "out", "m", planted(0.4))
    with pytest.raises(L2MError, match=message):
        judge(policy(tmp_path, requirement), load_results(tmp_path / "out"))


def test_one_missed_decides_then_one_open():
    outcomes = [Outcome("", status, "") for status in (PASS, OPEN, FAIL)]
    assert [exit_code(outcomes[:n]) for n in (1, 2, 3)] == [0, 2, 1]


def test_junit_is_xml_whatever_is_in_a_name():
    outcomes = [
        Outcome("<a> & \x1b[31m", FAIL, 'less "than" <b>'),
        Outcome("open", OPEN, ""),
        Outcome("ok", PASS, "1"),
    ]
    suite = ElementTree.fromstring(release_junit("<m>", outcomes)).find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert [case.get("name") for case in suite] == ["<a> & �[31m", "open", "ok"]
    assert suite[0].find("failure").get("message") == 'less "than" <b>'


def test_the_workflow_judges_the_examples_as_it_is_written(tmp_path):
    """The steps of the workflow in examples/github, run by a shell as they stand there, with its variables."""
    (tmp_path / "examples").symlink_to(EXAMPLES)
    steps, environment = workflow_steps(tmp_path, str(EXAMPLES.parent))
    assert run_step(steps["Judge"], tmp_path, environment) == 0
    assert run_step(steps["Show"], tmp_path, environment) == 0
    summary = tmp_path / "step_summary.md"
    assert "Released: every requirement is met: 7 met, 0 missed, 0 inconclusive." in summary.read_text()
    found = json.loads((tmp_path / "release.json").read_text())
    assert [one["status"] for one in found["requirements"]] == ["pass"] * 7
    assert ElementTree.parse(tmp_path / "release.xml").getroot().find("testsuite").get("failures") == "0"


@pytest.mark.slow
def test_the_workflow_installs_what_it_runs(tmp_path):
    """Its step "Install" in a checkout, without a network; "Judge" then runs what was installed."""
    root, installed = EXAMPLES.parent, tmp_path / "installed"
    steps, environment = workflow_steps(tmp_path, str(installed))
    alone = {
        "PIP_TARGET": str(installed),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
    }
    assert run_step(steps["Install"], root, {**environment, **alone}) == 0
    assert (installed / "l2m_eval" / "cli" / "release.py").is_file()
    (tmp_path / "examples").symlink_to(EXAMPLES)
    assert run_step(steps["Judge"], tmp_path, environment) == 0


def workflow_steps(folder: Path, python_path: str):
    """The steps of the workflow by name, and the environment it gives them: no repository variable is set."""
    workflow = yaml.safe_load((EXAMPLES / "github" / "l2m-release.yml").read_text())
    steps = {step.get("name"): step for step in workflow["jobs"]["checklist"]["steps"]}
    for name, command in (("l2m-eval", "l2m_eval.cli.main"), ("pip", "pip")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {command} "$@"\n')
        script.chmod(0o755)
    given = {
        key: re.sub(r"\$\{\{ vars\.\w+ \|\| '(.*)' \}\}", r"\1", value)
        for key, value in workflow["env"].items()
    }
    return steps, {
        **os.environ,
        **given,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": python_path,
        "GITHUB_STEP_SUMMARY": str(folder / "step_summary.md"),
    }


def run_step(step, folder: Path, environment) -> int:
    shell = ["bash", "-e", "-o", "pipefail", "-c"]
    return subprocess.run([*shell, step["run"]], cwd=folder, env=environment, check=False).returncode


def test_the_command_ends_with_what_the_worst_requirement_says(tmp_path, capsys):
    swa = str(EXAMPLES / "results" / "books-swa64-5m")
    file = tmp_path / "policy.yaml"
    for bound, code in ((0.1, 0), (0.14, 2), (0.3, 1)):
        file.write_text(yaml.safe_dump({"requirements": {"β": {"quantity": "beta", "at_least": bound}}}))
        assert main(["release", "--policy", str(file), swa]) == code
    assert "| β | fail | direct\\_beta 0.1449" in capsys.readouterr().out
    file.write_text(
        yaml.safe_dump({"requirements": {"β": {"quantity": "beta", "worse_than_reference_by": 0}}})
    )
    assert main(["release", "--policy", str(file), swa]) == 3
    assert "give --reference RESULTS" in capsys.readouterr().err
