"""The page of documentation is run: its figures come out, and are those that it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from planted_runs import EXAMPLES

from l2m_eval.cli.main import main
from l2m_eval.report.reproduce import reproducing_command
from l2m_eval.results.load import load_results

matplotlib.use("Agg")

DOCS = EXAMPLES.parent / "docs"


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A folder like the repository's, whose figures may be written."""
    (tmp_path / "docs" / "figures").mkdir(parents=True)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_code_of_the_page_makes_the_figures_that_the_page_shows(checkout, capsys):
    page = (DOCS / "report.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\(figures/(report-[a-z-]+\.svg)\)", page))
    code = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    with matplotlib.rc_context():
        exec(compile("\n".join(code), "docs/report.md", "exec"), {})
    made = {file.name for file in (checkout / "docs" / "figures").iterdir()}
    assert made == shown
    assert all((DOCS / "figures" / name).is_file() for name in shown)
    assert re.search(r"books-llama-5m − books-swa64-5m at L = 2048: \d+\.\d\d ± ", capsys.readouterr().out)


def test_the_examples_are_our_own_runs_without_a_trace_of_the_machine():
    results = load_results(EXAMPLES / "results")
    assert {one.run.label for one in results} >= {"books-llama-5m", "books-swa64-5m", "santa_fe"}
    for file in (EXAMPLES / "results").rglob("*.json*"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r'"(/|[A-Z]:\\\\|~)[^"]*"', text), file
        assert "pretty_env_info" not in text


def test_the_examples_show_what_they_are_there_for():
    """Equal losses, curves that part: the numbers behind README's figure."""
    by_label = {one.run.label: one for one in load_results(EXAMPLES / "results") if one.kind == "bipartite"}
    full, window = (by_label[name].curve("direct") for name in ("books-llama-5m", "books-swa64-5m"))
    assert (
        full.mi[-1] - window.mi[-1]
        > 4 * (full.standard_error[-1] ** 2 + window.standard_error[-1] ** 2) ** 0.5
    )
    oracle = by_label["santa_fe"].curve("direct")
    away = (oracle.mi - oracle.exact) / oracle.standard_error
    assert abs(away).max() < 4  # ten points that err together: one draw of about a normal variable


def test_the_report_on_the_examples_is_one_command(checkout, capsys):
    assert main(["report", "examples/results", "-o", "report"]) == 0
    assert (checkout / "report" / "report.html").stat().st_size > 100_000


@pytest.mark.slow
def test_the_command_that_a_report_names_measures_the_same_numbers_again(tmp_path):
    """On the oracle, which needs no model: same documents, same log-probabilities."""
    (example,) = [
        one for one in load_results(EXAMPLES / "results") if one.run.label == "santa_fe" and one.bipartite
    ]
    command = shlex.split(reproducing_command(example))
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    again = next(one for one in load_results(tmp_path / "out") if one.bipartite)
    # Log-probabilities of 2,048 tokens of up to 20 nats, added in another order, move 100 nats by less than 2e-8, and
    # those of a shorter length in proportion to it.
    np.testing.assert_allclose(again.curve("direct").mi, example.curve("direct").mi, rtol=1e-9)
    assert again.curve("direct").beta.value == pytest.approx(example.curve("direct").beta.value, rel=1e-9)
