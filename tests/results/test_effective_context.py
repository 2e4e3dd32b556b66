"""How much of its context a model uses, from saved results: the examples in the tree, which know nothing of it."""

import json
from pathlib import Path

import pytest

from l2m_eval.report.build import make_report
from l2m_eval.results.load import load_results

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "results"


def saved(model):
    results = [one for one in load_results(EXAMPLES / model) if one.bipartite and one.documents is not None]
    assert results
    return results[-1]


@pytest.fixture(scope="module")
def swa64():
    return saved("books-swa64-5m")


def test_two_models_of_equal_loss_are_told_apart(swa64):
    """A window of 64 tokens, and full attention over the same 48 chunks."""
    windowed, full = swa64.effective_context(), saved("books-llama-5m").effective_context()
    assert windowed.value in (64, 128)
    assert not windowed.reached
    assert (full.value, full.reached) == (2048, True)


def test_a_fixed_state_shows_no_growth():
    effective = saved("books-mamba2-1m").effective_context()
    assert not effective.grows
    assert effective.value == 4


def test_never_more_is_said_than_was_measured(swa64):
    sentence = swa64.use_sentence()
    assert sentence.startswith("books-swa64-5m uses at least ")
    assert "of the 2,048 tokens measured" in sentence
    swa64.block["claimed_context"] = 131072  # as a run of today writes it
    try:
        assert swa64.use_sentence().startswith("books-swa64-5m claims 131,072 tokens and uses at least ")
    finally:
        del swa64.block["claimed_context"]


def test_the_first_table_of_a_report_says_it(swa64):
    tables = make_report([swa64]).tables
    summary, table = tables[0], next(table for table in tables if table.name == "context")
    assert summary.name == "summary"
    uses = [column.heading for column in summary.columns].index("uses")
    assert summary.rows[0][uses].value == swa64.effective_context().value
    (row,) = table.rows
    assert row[3].value == swa64.effective_context().value
    assert row[4].value == 2048


def test_a_run_of_context_use_is_read_and_shown(tmp_path, monkeypatch):
    """One run of the harness on an oracle with a planted memory, read back from its files."""
    from lm_eval.__main__ import cli_evaluate

    metadata = {"documents": 12, "contexts": [8, 16, 32], "target": 16, "facts": 64}
    monkeypatch.setattr(
        "sys.argv",
        [
            "lm_eval", "--model", "l2m-oracle", "--model_args", "process=santa_fe,facts=64,memory=16", "--tasks",
            "l2m_context_use_process", "--metadata", json.dumps(metadata), "--output_path", str(tmp_path),
            "--log_samples",
        ],
    )  # fmt: skip
    cli_evaluate()
    (one,) = load_results(tmp_path)
    assert one.context_use.curve.contexts == (0, 8, 16, 32)
    assert one.effective_context().value <= 16
    assert one.metrics["effective_context"] == one.effective_context().value
    report = make_report([one])
    assert [table.name for table in report.tables][:2] == ["summary", "context"]
    assert "context-use" in [figure.name for figure in report.figures]
    needed = one.context_use.curve.needed[0.95]
    assert report.tables[1].rows[0][7].value == needed.value
