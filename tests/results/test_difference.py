"""Differences of headline numbers: exact zeros, agreement with the numbers themselves and with the report's way."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from planted_runs import EXAMPLES, planted, write_bipartite

from l2m_eval.cli.main import main
from l2m_eval.errors import L2MError
from l2m_eval.report.comparison import paired_difference, position_difference
from l2m_eval.report.labelled import Shown
from l2m_eval.report.selection import bipartite_groups, select
from l2m_eval.results.check import compare_with
from l2m_eval.results.difference import compare_quantity
from l2m_eval.results.headline import named_quantity
from l2m_eval.results.load import load_results

OF_EXAMPLES = [
    "direct_mi@64",
    "mi",
    "beta",
    "vclub_beta",
    "direct_amplitude",
    "bits_per_byte",
    "nll",
    "context_gain",
]


@pytest.fixture(scope="module")
def books():
    folder = EXAMPLES / "results"
    return [load_results(folder / name) for name in ("books-swa64-5m", "books-llama-5m")]


@pytest.mark.parametrize("name", OF_EXAMPLES)
def test_the_difference_is_that_of_the_two_numbers_and_of_one_with_itself_zero(books, name):
    """The terms of the samples logs give the same numbers as the results files up to the order of sums: 1e-9."""
    swa, llama = books
    found = compare_quantity(swa, llama, name, higher_is_better=True)
    a, b = (named_quantity(results, name).estimate.value for results in books)
    assert found.difference.value == pytest.approx(a - b, abs=1e-9 * (abs(a) + abs(b)))
    copied = [replace(one, run=replace(one.run, path=one.run.path.with_name("copy.json"))) for one in swa]
    for same in (swa, copied):
        itself = compare_quantity(swa, same, name, higher_is_better=True)
        assert (itself.difference.value, itself.difference.interval) == (0.0, (0.0, 0.0))
        assert itself.exit_code == 0


def test_it_is_the_paired_difference_of_the_report(books):
    swa, llama = (next(one for one in results if one.bipartite) for results in books)
    report = paired_difference(swa, llama, seed=swa.seed)
    beta, mi = (compare_quantity([swa], [llama], name).difference for name in ("beta", "mi"))
    assert beta.interval == report.beta.interval
    assert mi.interval == (report.low[-1], report.high[-1])
    losses = [next(one for one in results if one.position) for results in books]
    shown = [Shown(str(i), one.position, i, one) for i, one in enumerate(losses)]
    theirs = position_difference(*shown, per="byte", seed=losses[0].seed)
    assert compare_quantity([losses[0]], [losses[1]], "bits_per_byte").difference == theirs


def test_the_verdict_follows_the_interval_the_direction_and_the_margin(books):
    swa, llama = books
    assert compare_quantity(swa, llama, "beta").status == "worse"
    assert compare_quantity(llama, swa, "beta").status == "not worse"
    assert compare_quantity(swa, llama, "beta", margin=1.0).status == "not worse"
    bits = compare_quantity(swa, llama, "bits_per_byte")
    assert bits.status == "inconclusive"
    low, high = bits.difference.interval
    assert compare_quantity(swa, llama, "bits_per_byte", margin=high * 1.001).status == "not worse"
    assert compare_quantity(swa, llama, "bits_per_byte", margin=high * 0.999).status == "inconclusive"
    assert bits.advantage.interval == (-high, -low)


def test_as_many_documents_as_are_said_to_be_needed_decide(tmp_path):
    """Each document k times, as k sources: the means stay, every error shrinks with the root of k."""

    def compared(times):
        rows = {"a": planted(0.4, seed=1, noise=3.0), "b": planted(0.4, seed=2, noise=3.0)}
        for model, information in rows.items():
            write_bipartite(tmp_path / str(times), model, np.repeat(information, times, axis=0))
        folder = tmp_path / str(times)
        return compare_quantity(load_results(folder / "a"), load_results(folder / "b"), "mi")

    once = compared(1)
    assert once.status == "inconclusive"
    times = once.documents_needed / 40
    # 1,000 resamples know an end of an interval to 5 %, so the number of documents to 10 %; groups of few documents
    # have wider intervals than that. Twice as many decide, half as many do not.
    assert compared(int(2 * times) + 1).status != "inconclusive"
    assert compared(max(1, int(times / 2))).status == "inconclusive"


def test_without_a_samples_log_both_intervals_are_added(tmp_path):
    for model, log in (("a", True), ("b", False)):
        write_bipartite(tmp_path, model, planted(0.4, seed=len(model)), log=log)
    a, b = load_results(tmp_path / "a"), load_results(tmp_path / "b")
    found = compare_quantity(a, b, "mi")
    assert not found.paired
    assert "without a samples log" in found.notes[0]
    errors = [named_quantity(results, "mi").estimate.standard_error for results in (a, b)]
    assert found.difference.standard_error == pytest.approx(np.hypot(*errors))


def test_models_with_different_tokenizers_are_compared_at_equal_bytes(tmp_path):
    write_bipartite(tmp_path, "fine", planted(0.4, seed=1), bytes_per_token=2.0)
    write_bipartite(tmp_path, "coarse", planted(0.4, seed=1), bytes_per_token=4.0)
    fine, coarse = load_results(tmp_path / "fine"), load_results(tmp_path / "coarse")
    found = compare_quantity(fine, coarse, "mi")
    assert found.at == "at 256 bytes of text"
    expected = fine[0].curve("direct").mi[-1] - coarse[0].curve("direct").mi[-2]  # 128 and 64 tokens
    assert found.difference.value == pytest.approx(expected, rel=1e-12)
    with pytest.raises(L2MError, match="different tokenizers"):
        compare_quantity(fine, coarse, "mi@64")


def test_different_tokenizers_without_bytes_are_refused_and_unknown_ones_are_said(tmp_path):
    """Special tokens contradict each other where one text has two identifiers, or one identifier two texts."""
    for name, end, number in (("a", "</s>", "2"), ("other", "<eos>", "2"), ("tuned", "<turn>", "9")):
        file = write_bipartite(tmp_path, name, planted(0.4, seed=1))
        file.write_text(json.dumps({**json.loads(file.read_text()), "tokenizer_eos_token": [end, number]}))
    a, other, tuned = (load_results(tmp_path / name) for name in ("a", "other", "tuned"))
    with pytest.raises(
        L2MError, match=r"a and other have different tokenizers, and the results of a and other do"
    ):
        compare_quantity(a, other, "mi")
    with pytest.raises(L2MError, match="different tokenizers"):
        compare_with(a[0], other[0])
    assert any(
        "whether the tokenizers are the same" in note for note in compare_quantity(a, tuned, "mi").notes
    )
    groups = bipartite_groups(select((*a, *other, *tuned)))
    assert [[s.label for s in group.curves] for group in groups] == [["a", "tuned"], ["other"]]
    assert all("share no figure" in group.notices[0] for group in groups)


def write_settings(tmp_path, **changes):
    file = write_bipartite(tmp_path / "b", "b", planted(0.4, seed=2))
    data = json.loads(file.read_text())
    data["configs"]["l2m_bipartite_text"]["l2m"]["settings"] |= changes
    file.write_text(json.dumps(data))
    return load_results(tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "margin", "changes", "message"),
    [
        ("mi", -1.0, {}, "margin: -1 is not accepted"),
        ("mi", float("nan"), {}, "margin: nan"),
        ("mi", 0.0, {"marginal": "all"}, "marginal: 'paired' for a, 'all' for b"),
        ("tokens_scored", 0.0, {}, "say with --better"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, name, margin, changes, message):
    write_bipartite(tmp_path / "a", "a", planted(0.4, seed=1))
    with pytest.raises(L2MError, match=message):
        compare_quantity(
            load_results(tmp_path / "a"), write_settings(tmp_path, **changes), name, margin=margin
        )


def test_other_documents_are_refused(tmp_path):
    write_bipartite(tmp_path, "a", planted(0.4))
    write_bipartite(tmp_path, "b", planted(0.4), document="paper")
    with pytest.raises(L2MError, match="not measured on the same documents"):
        compare_quantity(load_results(tmp_path / "a"), load_results(tmp_path / "b"), "mi")


# --- the command ------------------------------------------------------------------------------------------------


def test_the_command_says_it_in_words_and_by_its_exit_code(tmp_path, capsys):
    write_bipartite(tmp_path, "grows", planted(0.4, seed=1))
    write_bipartite(tmp_path, "flat", planted(0.05, seed=2))
    grows, flat = str(tmp_path / "grows"), str(tmp_path / "flat")
    assert main(["compare", grows, flat]) == 0
    assert "Not worse: grows is not worse than flat, in direct_mi@128." in capsys.readouterr().out
    assert main(["compare", flat, grows, "--quantity", "beta", "--quantity", "mi", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["quantity"], one["status"]) for one in found] == [
        ("direct_beta", "worse"), ("direct_mi@128", "worse")
    ]  # fmt: skip
    assert main(["compare", grows, grows]) == 0
    assert "difference (A - B): 0 nats, 95 % interval 0 to 0" in capsys.readouterr().out


def test_what_it_would_take_to_tell_is_said(tmp_path, capsys):
    write_bipartite(tmp_path, "a", planted(0.4, seed=1, noise=3.0))
    write_bipartite(tmp_path, "b", planted(0.4, seed=2, noise=3.0))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "documents would decide if the difference stays the same (40 measured)" in capsys.readouterr().out


def test_a_folder_with_several_models_is_refused(tmp_path, capsys):
    for model in ("a", "b"):
        write_bipartite(tmp_path, model, planted(0.4))
    assert main(["compare", str(tmp_path), str(tmp_path / "a")]) == 3
    assert "holds a, b; give the results of one model" in capsys.readouterr().err
