"""A leaderboard: entries checked against their documents, ties by paired intervals, what does not compare apart."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest
from planted_runs import EXAMPLES, planted, write_bipartite, write_position

from l2m_eval.cli.main import main
from l2m_eval.errors import L2MError
from l2m_eval.report.build import write_report
from l2m_eval.report.leaderboard import boards_of, make_leaderboard, ranked
from l2m_eval.results.load import load_results
from l2m_eval.results.verified import DIFFERS, NOT_CHECKED, RECOMPUTED, verify


def edit(file, change):
    data = json.loads(file.read_text())
    change(data["configs"]["l2m_bipartite_text"]["l2m"])
    file.write_text(json.dumps(data))


@pytest.fixture
def three(tmp_path):
    """Two models of one curve with noise of their own, and one that is far ahead."""
    for model, growth, seed in (("a", 0.4, 1), ("b", 0.4, 2), ("ahead", 0.6, 3)):
        write_bipartite(tmp_path, model, planted(growth, seed=seed))
    return load_results(tmp_path)


def test_places_are_shared_where_the_paired_difference_includes_zero(three):
    (board,), refused, without = boards_of(three, "mi")
    places = {entry.label: (row.best, row.worst) for row, entry in ranked(board)}
    assert places["ahead"] == (1, 1)
    assert places["a"] == places["b"] == (2, 3)
    assert not refused
    assert not without


@pytest.mark.parametrize("name", ["books-llama-5m", "l2m-oracle"])
def test_every_number_of_the_examples_follows_from_its_samples_log(name):
    found = {one.task: verify(one).status for one in load_results(EXAMPLES / "results" / name)}
    counted = {task for task in found if "two_point" in task}  # over whole books, whose tokens no log holds
    assert {found[task] for task in counted} == {NOT_CHECKED}
    assert {found[task] for task in found.keys() - counted} == {RECOMPUTED}


def test_a_number_that_its_documents_do_not_give_has_no_place_and_both_are_said(tmp_path):
    for model in ("honest", "other"):
        file = write_bipartite(tmp_path, model, planted(0.4))
    edit(file, lambda block: block["curves"][0]["mi"].__setitem__(-1, 99.0))
    results = load_results(tmp_path)
    (board,), (refused,), _ = boards_of(results, "mi")
    assert [entry.label for entry in board.entries] == ["honest"]
    truth = results[0].curve("direct").mi[-1]
    assert refused.checked.findings == (f"direct_mi: 99 in the results, {truth:.6g} from the samples log",)
    report = make_leaderboard(results, "mi", title="t", command="c")
    assert "99 in the results" in next(t for t in report.tables if t.name == "refused").to_markdown()


def test_a_log_that_lost_documents_or_another_hash_is_found(tmp_path):
    file = write_bipartite(tmp_path, "m", planted(0.4))
    log = next(file.parent.glob("samples_*"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for number, sample in enumerate(lines):
        sample |= {"doc_hash": f"d{number}", "prompt_hash": "p", "target_hash": "t"}
    joined = "".join(f"d{number}pt" for number in range(len(lines)))  # as the harness joins them
    data = json.loads(file.read_text())
    data["task_hashes"] = {"l2m_bipartite_text": hashlib.sha256(joined.encode()).hexdigest()}
    file.write_text(json.dumps(data))
    log.write_text("\n".join(map(json.dumps, lines)))
    assert verify(load_results(tmp_path)[0]).status == RECOMPUTED
    lines[0]["doc_hash"] = "other"
    log.write_text("\n".join(map(json.dumps, lines)))
    found = verify(load_results(tmp_path)[0])
    assert (found.status, found.findings) == (
        DIFFERS, ("the hash of the documents is not that of the samples log",)
    )  # fmt: skip
    log.write_text("\n".join(map(json.dumps, lines[:-1])))
    assert "40 documents in the results, 39 in the samples log" in verify(load_results(tmp_path)[0]).findings


def test_results_without_a_log_are_said_not_to_be_checked(tmp_path):
    write_bipartite(tmp_path, "m", planted(0.4), log=False)
    assert str(verify(load_results(tmp_path)[0])) == "not checked: no samples log (--log_samples)"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"document": "paper"}, "not measured on the same documents"),
        ({"bytes_per_token": 4.0}, "other tokenizer than a"),
    ],
)
def test_what_does_not_compare_stands_in_a_table_of_its_own_with_the_reason(tmp_path, change, reason):
    write_bipartite(tmp_path, "a", planted(0.4, seed=1), bytes_per_token=2.0)
    write_bipartite(tmp_path, "b", planted(0.4, seed=2), **({"bytes_per_token": 2.0} | change))
    boards, _, _ = boards_of(load_results(tmp_path), "mi")
    assert [[entry.label for entry in board.entries] for board in boards] == [["a"], ["b"]]
    assert reason in boards[1].reason
    report = make_leaderboard(load_results(tmp_path), "mi", title="t", command="c")
    assert any(reason in notice for section in report.sections for notice in section.notices)


def test_other_settings_are_apart_too(tmp_path):
    write_bipartite(tmp_path, "a", planted(0.4, seed=1), log=False)
    edit(
        write_bipartite(tmp_path, "b", planted(0.4, seed=2), log=False),
        lambda block: block["settings"].update(correction="ngram"),
    )
    boards, _, _ = boards_of(load_results(tmp_path), "mi")
    assert "correction: 'ngram' for b, 'none' for a" in boards[1].reason


def test_models_without_the_number_are_named_with_the_task_that_measures_it(tmp_path):
    write_bipartite(tmp_path, "a", planted(0.4))
    write_position(tmp_path, "b", 3.0)
    _, _, without = boards_of(load_results(tmp_path), "bits_per_byte")
    assert without == [("a", "'bits_per_byte' is not in the results of a; measure it with l2m_position_nll")]
    with pytest.raises(L2MError, match="measure it with l2m_kl_process"):
        boards_of(load_results(tmp_path), "kl")
    with pytest.raises(L2MError, match="rank by another"):
        boards_of(load_results(EXAMPLES / "results" / "books-llama-5m"), "two_point_alpha")


def test_markup_is_text_and_every_link_leads_somewhere(tmp_path):
    write_bipartite(tmp_path / "out", "<img src=x>", planted(0.4))
    report = make_leaderboard(
        load_results(tmp_path / "out"), "mi", title="<script>alert(1)</script>", command="c"
    )
    (page, *files) = write_report(report, tmp_path / "board")
    html = page.read_text()
    assert page.name == "index.html"
    assert "<script>alert" not in html
    assert "<img" not in html
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(re.findall(r'id="([^"]+)"', html))
    for link in re.findall(r'href="([^#"][^"]*)"', html):
        assert tmp_path / "board" / link in files


def test_the_command_writes_page_json_and_csv_and_a_second_run_removes_what_is_left_over(tmp_path, capsys):
    for model, document in (("a", "book"), ("b", "paper")):
        write_bipartite(tmp_path / "out", model, planted(0.4), document=document)
    board = tmp_path / "board"
    assert main(["leaderboard", str(tmp_path / "out"), "-o", str(board)]) == 0
    assert capsys.readouterr().out.strip() == str(board / "index.html")
    assert (board / "tables" / "leaderboard-2.csv").is_file()
    data = json.loads((board / "leaderboard.json").read_text())
    assert data["schema"] == "l2m-eval/leaderboard/1"
    assert [(e["model"], e["place"], e["checked"]) for e in data["entries"]] == [
        ("a", [1, 1], "recomputed"), ("b", [1, 1], "recomputed")
    ]  # fmt: skip
    expected = load_results(tmp_path / "out")[0].curve("direct").mi[-1]
    assert np.isclose(data["entries"][0]["value"], expected, rtol=1e-12)
    assert data["entries"][0]["command"].startswith("lm_eval run")
    assert main(["leaderboard", str(tmp_path / "out" / "a"), "-o", str(board)]) == 0
    assert not (board / "tables" / "leaderboard-2.csv").exists()
