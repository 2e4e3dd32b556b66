"""The report as files: what is written where, what it says, and what it refuses."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from planted_runs import (
    EXAMPLES,
    LENGTHS,
    planted,
    write_bipartite,
    write_everything,
    write_position,
    write_run,
    write_two_point,
)

from l2m_eval.cli.main import main
from l2m_eval.errors import L2MError
from l2m_eval.report.build import Options, make_report, write_report
from l2m_eval.report.reproduce import reproducing_command
from l2m_eval.report.selection import bipartite_groups, position_groups, select
from l2m_eval.results.load import load_results


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Two models with every kind of result."""
    folder = tmp_path_factory.mktemp("everything")
    for seed, (model, growth) in enumerate((("grows", 0.4), ("flat", 0.05))):
        write_bipartite(folder, model, planted(growth, seed=seed))
        write_position(folder / "position", model, 3.0 + growth)
        write_two_point(folder / "two-point", model)
    return folder


@pytest.fixture(scope="module")
def whole(everything):
    """The report on them."""
    return make_report(load_results(everything), Options(command="l2m-eval report out -o r"))


def words(report):
    return " ".join(s for section in report.sections for s in (*section.sentences, *section.notices))


def test_all_files_are_there_and_the_json_lists_them(whole, tmp_path):
    written = write_report(whole, tmp_path / "report")
    found = {str(f.relative_to(tmp_path / "report")) for f in (tmp_path / "report").rglob("*") if f.is_file()}
    data = json.loads((tmp_path / "report" / "report.json").read_text())
    assert data["schema"] == "l2m-eval/report/1"
    assert set(data["files"]) == found == {str(f.relative_to(tmp_path / "report")) for f in written}
    for figure in data["figures"]:
        assert {f"figures/{figure['name']}.svg", f"figures/{figure['name']}.png"} <= found
        assert figure["sentences"]
    for table in data["tables"]:
        assert {f"tables/{table['name']}.csv", f"tables/{table['name']}.md"} <= found


def test_the_most_telling_comes_first(whole):
    assert [section.name for section in whole.sections] == [
        "overview", "bipartite", "context-use", "position", "comparison", "two-point", "shapes",
        "warnings", "reproduce",
    ]  # fmt: skip
    assert whole.figures[0].name == "bipartite-direct"


def test_every_kind_of_result_has_its_figure(whole):
    names = {figure.name for figure in whole.figures}
    assert {"bipartite-direct", "two-point", "position-nll-per-token", "position-nll-per-byte"} <= names
    assert sum(name.startswith("shapes-") for name in names) == 2


def test_the_json_holds_the_numbers_that_are_drawn(everything, whole):
    (figure,) = [f for f in whole.figures if f.name == "bipartite-direct"]
    curve = load_results(everything)[0].curve("direct")
    assert list(figure.series[0]["mi"]) == curve.mi.tolist()
    assert figure.series[0]["beta"]["value"] == curve.beta.value


def cells(report, name):
    """Rows of a table by its headings."""
    table = next(t for t in report.tables if t.name == name)
    heads = [column.heading for column in table.columns]
    return [dict(zip(heads, row, strict=True)) for row in table.rows]


def test_tables_give_values_with_errors_and_intervals_and_captions_are_short(everything, whole):
    by_model = {one.run.label: one.curve("direct") for one in load_results(everything) if one.bipartite}
    for row in cells(whole, "fits"):
        curve = by_model[row["model"].text]
        assert (row["β"].value, row["β from"].value, row["β to"].value) == (
            curve.beta.value,
            *curve.beta.interval,
        )
        assert row["β (95 %)"].text == "{:.3g} to {:.3g}".format(*curve.beta.interval)
        assert row["I at longest L"].value == curve.mi[-1]
        assert row["documents"].value == 40
    assert {row["nats per token"].value for row in cells(whole, "losses")} == {
        one.position.overall.value for one in load_results(everything) if one.position
    }
    for figure in whole.figures:
        assert 1 <= len(figure.sentences) <= 2
        assert all(sentence.count(". ") == 0 for sentence in figure.sentences)
        assert not re.search(r"grows|flat", " ".join(figure.sentences))  # of no model: the tables have them


def test_every_figure_has_a_title_and_every_table_a_caption_of_its_own(whole, tmp_path):
    write_everything(tmp_path, 2, bytes_per_token=(4.18, 3.27))
    results = load_results(tmp_path)
    labels = list(dict.fromkeys(one.run.label for one in results))
    states = dict(zip(labels, ("64*L", "4096"), strict=True))
    for report in (whole, make_report(results, Options(states=states, reference=labels[0]))):
        titles = [figure.title for figure in report.figures]
        captions = [table.caption for table in report.tables]
        assert len(set(titles)) == len(titles)
        assert len(set(captions)) == len(captions)
        told = [
            *titles,
            *captions,
            words(report),
            *(cell.text for t in report.tables for r in t.rows for cell in r),
        ]
        assert not [text for text in told if re.search(r"\d\.\d+ bytes", text)]
    (in_bytes,) = [f for f in report.figures if f.title.endswith("by bytes")]
    assert "token" not in " ".join(in_bytes.sentences)
    checked = next(t for t in report.tables if t.name == "verdicts-on-information")
    assert [row[0].text for row in checked.rows] == labels[1:]  # nobody keeps up with itself


def test_what_was_run_is_said_with_how_much_it_took_and_how_to_repeat_it(whole):
    table = next(t for t in whole.tables if t.name == "results")
    row = dict(zip([c.heading for c in table.columns], [c.text for c in table.rows[0]], strict=True))
    assert row["wall-clock"] in ("12 s", "13 s")
    assert row["seed"] == "7"
    assert any(cell.text == "4,000" for r in table.rows for cell in r)  # 40 documents of 100 tokens
    commands = [c.text for section in whole.sections for c in section.commands]
    assert commands[-1] == "l2m-eval report out -o r"
    assert any("pretrained=grows" in c and "l2m_bipartite_text" in c for c in commands)
    assert "two_point: planted warning" in words(whole)


def test_a_reproducing_command_names_every_setting_that_is_not_the_default(tmp_path):
    write_bipartite(tmp_path, "my model", planted(0.4))
    (one,) = load_results(tmp_path)
    command = reproducing_command(one)
    assert "--model_args 'pretrained=my model'" in command
    given = json.loads(re.search(r"--metadata '(\{.*?\})'", command)[1])
    assert given == {
        "corpus": "books/*.txt", "lengths": list(LENGTHS), "estimators": ["direct"], "resamples": 200, "seed": 7,
    }  # fmt: skip


def test_only_the_newest_run_of_a_model_and_task_is_shown_unless_asked(tmp_path):
    write_bipartite(tmp_path, "m", planted(0.4), date=1.7e9)
    write_bipartite(tmp_path, "m", planted(0.1), date=1.7e9 + 7)
    results = load_results(tmp_path)
    report = make_report(results)
    (figure,) = [f for f in report.figures if f.name == "bipartite-direct"]
    assert len(figure.series) == 1
    assert figure.series[0]["beta"]["value"] == pytest.approx(0.1, abs=0.05)
    assert "Older results are left out: m" in words(report)
    (figure,) = [f for f in make_report(results, Options(every=True)).figures if f.name == "bipartite-direct"]
    assert len({series["label"] for series in figure.series}) == 2


def test_models_of_the_same_name_are_told_apart(tmp_path):
    for folder in ("first", "second"):
        write_bipartite(tmp_path, f"/{folder}/tiny", planted(0.4))
    assert len(select(load_results(tmp_path)).numbers) == 2


def test_curves_of_other_corpora_or_corrections_are_drawn_apart(tmp_path):
    write_bipartite(tmp_path, "a", planted(0.4))
    write_bipartite(
        tmp_path / "other", "a", planted(0.4), document="another", settings={"corpus": ["other/*.txt"]}
    )
    corrected = {"corpus": ["books/*.txt"], "correction": "ngram"}
    write_bipartite(tmp_path, "b", planted(0.4), log=False, settings=corrected)
    groups = bipartite_groups(select(load_results(tmp_path)))
    assert sorted((g.corpus, *(s.label for s in g.curves)) for g in groups) == [
        ("books/*.txt", "a"), ("books/*.txt", "b"), ("other/*.txt", "a"),
    ]  # fmt: skip
    assert len({g.name for g in groups}) == 3


def test_one_corpus_under_two_paths_is_one_figure_where_its_documents_are_the_same(tmp_path):
    write_bipartite(tmp_path, "a", planted(0.4))
    write_bipartite(tmp_path, "b", planted(0.4), settings={"corpus": ["/elsewhere/books/*.txt"]})
    (group,) = bipartite_groups(select(load_results(tmp_path)))
    assert [s.label for s in group.curves] == ["a", "b"]


def test_different_tokenizers_share_a_figure_in_bytes_alone(tmp_path):
    write_bipartite(tmp_path, "a", planted(0.4), bytes_per_token=4.0)
    write_bipartite(tmp_path, "b", planted(0.4), bytes_per_token=3.0)
    groups = bipartite_groups(select(load_results(tmp_path)))
    assert [(g.unit, len(g.curves)) for g in groups] == [("bytes", 2), ("tokens", 1), ("tokens", 1)]
    report = make_report(load_results(tmp_path))
    assert "different tokenizers" in words(report)
    assert any(t.name == "ranking-bipartite-direct-bytes" for t in report.tables)
    write_position(tmp_path / "p", "a", 3.0, bytes_per_token=4.0)
    write_position(tmp_path / "p", "b", 3.0, bytes_per_token=3.0)
    (losses,) = position_groups(select(load_results(tmp_path / "p")))
    assert losses.unit == "bytes"


def test_what_differs_between_overlaid_curves_is_said(tmp_path):
    write_bipartite(tmp_path, "a", planted(0.4))
    write_bipartite(tmp_path, "b", planted(0.4, documents=20), seed=8)
    text = words(make_report(load_results(tmp_path)))
    assert "These curves differ in documents: 40 for a, 20 for b." in text
    assert "These curves differ in seed: 7 for a, 8 for b." in text
    assert "Not paired" in text


def test_a_known_state_gives_a_verdict_and_its_figures(everything):
    states = {"grows": "64*L", "flat": "4096"}
    report = make_report(load_results(everything), Options(states=states, reference="grows"))
    found = {(v.label, v.verdict.check): v.status for v in report.verdicts}
    assert found["grows", "single-model"] == "satisfied"
    assert found["flat", "single-model"] == "violated"
    assert found["flat", "mi-capability"] == "violated"
    names = {figure.name for figure in report.figures}
    assert {"state-bipartite-direct", "mi-state-bipartite-direct"} <= names


def test_a_published_reference_is_the_law_that_states_are_checked_against(everything):
    options = Options(states={"grows": "64*L**0.5"}, reference="pg19-llama-3.1-405b-direct")
    (verdict,) = make_report(load_results(everything), options).verdicts
    assert verdict.status == "violated"  # 0.5 is below 0.76, though above what this model expresses
    assert "PG19" in verdict.verdict.sentence


def test_ranks_are_by_interval(whole):
    table = next(t for t in whole.tables if t.name == "ranking-bipartite-direct")
    assert [(row[0].text, row[1].text) for row in table.rows] == [("1", "grows"), ("2", "flat")]


def test_names_of_models_do_no_harm_anywhere(tmp_path):
    evil = "<script>alert(1)</script>|`$x$`\"'&amp;"
    write_bipartite(tmp_path / "out", evil, planted(0.4))
    write_bipartite(tmp_path / "out", "../../../escape", planted(0.3))
    write_position(tmp_path / "out" / "p", evil, 3.0)
    target = tmp_path / "inner" / "report"
    write_report(make_report(load_results(tmp_path / "out"), Options(title=evil)), target)
    page = (target / "report.html").read_text()
    assert page.count("<script") == 1  # the page's own
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    outside = [p for p in (tmp_path / "inner").rglob("*") if p.is_file() and target not in p.parents]
    assert outside == []
    names = [p.name for p in target.rglob("*") if p.is_file()]
    assert all(re.fullmatch(r"[a-z0-9-]+\.(html|json|svg|png|csv|md)", name) for name in names)


def test_a_link_in_the_folder_does_not_lead_the_report_out_of_it(tmp_path):
    write_bipartite(tmp_path / "out", "m", planted(0.4))
    report = make_report(load_results(tmp_path / "out"))
    for name in ("figures", "report.html"):
        target, elsewhere = tmp_path / f"to-{name}", tmp_path / f"elsewhere-{name}"
        target.mkdir()
        elsewhere.mkdir()
        (target / name).symlink_to(elsewhere if name == "figures" else elsewhere / "x.html")
        with pytest.raises(L2MError, match="leads out of"):
            write_report(report, target)
        assert list(elsewhere.iterdir()) == []


def test_a_second_report_leaves_no_figures_of_the_first_and_nothing_else_is_removed(
    everything, whole, tmp_path
):
    target = tmp_path / "report"
    write_report(whole, target)
    (target / "figures" / "mine.svg").write_text("kept")
    write_report(make_report(load_results(everything / "grows")), target)
    kept = {p.name for p in (target / "figures").iterdir()}
    assert "two-point.svg" not in kept
    assert {"mine.svg", "bipartite-direct.svg"} <= kept


def test_the_same_results_give_the_same_report(everything, whole, tmp_path):
    write_report(whole, tmp_path / "a")
    write_report(
        make_report(load_results(everything), Options(command="l2m-eval report out -o r")), tmp_path / "b"
    )
    for file in (tmp_path / "a").rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes(), file


def test_no_path_of_this_machine_gets_into_a_report(everything, whole, tmp_path):
    write_report(whole, tmp_path / "report")
    for file in (tmp_path / "report").rglob("*"):
        if file.suffix in (".html", ".json", ".csv", ".md", ".svg"):
            assert str(everything) not in file.read_text(), file


def test_tables_have_every_digit(everything, whole, tmp_path):
    write_report(whole, tmp_path / "report")
    rows = list(csv.DictReader((tmp_path / "report" / "tables" / "bipartite-direct.csv").open()))
    by_model = {one.run.label: one.curve("direct") for one in load_results(everything) if one.bipartite}
    for row in rows:
        curve = by_model[row["model"]]
        at = curve.lengths.tolist().index(float(row["L (tokens)"]))
        assert float(row["I (nats)"]) == curve.mi[at]
        assert float(row["standard error"]) == curve.standard_error[at]


def test_results_without_errors_or_fit_still_make_a_report(tmp_path):
    write_bipartite(tmp_path / "out", "m", planted(0.4, documents=1))
    report = make_report(load_results(tmp_path / "out"))
    write_report(report, tmp_path / "report")
    assert "rival shapes are not compared" in words(report)


def test_numbers_that_are_missing_here_and_there_do_not_stop_a_report(tmp_path):
    """null is what the tasks write for what they do not know."""
    for model in ("a", "b"):
        file = write_bipartite(tmp_path, model, planted(0.4), bytes_per_token=4.0, log=model == "a")
        data = json.loads(file.read_text())
        curve = data["configs"]["l2m_bipartite_text"]["l2m"]["curves"][0]
        curve["bytes"][2] = curve["mi"][3] = curve["standard_error"][1] = None
        curve["beta_interval"] = [None, None]
        file.write_text(json.dumps(data))
    report = make_report(load_results(tmp_path))
    (figure,) = [f for f in report.figures if f.name == "bipartite-direct"]
    assert len(figure.series) == 2
    json.loads((write_report(report, tmp_path / "report")[0].parent / "report.json").read_text())


def test_exact_curves_are_compared_with(tmp_path):
    file = write_bipartite(tmp_path, "m", planted(0.4))
    data = json.loads(file.read_text())
    curve = data["configs"]["l2m_bipartite_text"]["l2m"]["curves"][0]
    curve["exact"], curve["beta_exact"] = curve["mi"], curve["beta"]
    file.write_text(json.dumps(data))
    report = make_report(load_results(tmp_path))
    (row,) = cells(report, "fits")
    assert row["off by (standard errors)"].text == "0.0"
    assert "exact values" in " ".join(report.figures[0].sentences)


# --- the command ------------------------------------------------------------------------------------------------


def test_the_command_prints_the_page_it_wrote(everything, tmp_path, capsys):
    assert main(["report", str(everything), "-o", str(tmp_path / "r"), "--state", "flat=4096"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "r" / "report.html")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"results": {"x": {"a', "not comp.*line 1, column"),
        ('{"results": {"arc_easy": {}}, "configs": {"arc_easy": {}}}', "arc_easy, none of an l2m task"),
        ('{"results": {}, "configs": {"t": {"l2m": {"schema": "l2m-eval/bipartite/9"}}}}', "newer than"),
    ],
)
def test_files_that_give_no_report_are_named_in_one_line(tmp_path, capsys, content, named):
    file = tmp_path / "results_x.json"
    file.write_text(content)
    assert main(["report", str(file), "-o", str(tmp_path / "r")]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(named, error)
    assert "results_x.json" in error
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--reference", "nobody"], "reference: 'nobody' is neither"),
        (["--state", "nobody=4096"], "no model is called 'nobody'"),
        (["--state", "flat"], "give MODEL=STATE"),
        (["--draw", "nothing"], "reference: 'nothing' is not a published curve"),
    ],
)
def test_options_that_make_no_sense_are_named_in_one_line(everything, tmp_path, capsys, arguments, named):
    assert main(["report", str(everything), "-o", str(tmp_path / "r"), *arguments]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert named in error


def test_a_file_in_the_place_of_the_folder_is_refused(everything, tmp_path, capsys):
    (tmp_path / "r").write_text("mine")
    assert main(["report", str(everything), "-o", str(tmp_path / "r")]) == 3
    assert "is a file; give a folder" in capsys.readouterr().err
    assert (tmp_path / "r").read_text() == "mine"


def test_no_results_are_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "r")]) == 3
    assert "no harness results" in capsys.readouterr().err


def test_a_recorded_check_is_shown_as_it_was_and_the_curve_stays_the_measured_one(tmp_path):
    """A check that took its curves from saved results has no documents; those results have."""
    check = {
        "schema": "l2m-eval/check/1", "check": "single-model", "status": "violated", "exit_code": 1,
        "sentence": "Violated: recorded.", "numbers": {},
    }  # fmt: skip
    capability = {
        **check,
        "check": "mi-capability",
        "status": "satisfied",
        "sentence": "Satisfied: keeps up.",
    }
    file = write_bipartite(tmp_path / "out", "m", planted(0.4))
    block = json.loads(file.read_text())["configs"]["l2m_bipartite_text"]["l2m"]
    block |= {
        "schema": "l2m-eval/condition/1",
        "check": check,
        "capability": capability,
        "results": "out/x.json",
    }
    write_run(tmp_path / "out" / "check", "m", "l2m_condition_text", block, date=1.8e9)
    results = load_results(tmp_path / "out")
    verdicts = make_report(results).verdicts
    assert [(v.status, v.rest) for v in verdicts] == [("violated", "recorded."), ("satisfied", "keeps up.")]
    (group,) = bipartite_groups(select(results))
    assert [s.results.documents is not None for s in group.curves] == [True]


# --- what the results hold is read, not computed anew ------------------------------------------------------------


def test_the_goodness_of_fit_in_the_page_is_that_of_the_results(monkeypatch):
    """Stored p-values of shapes, two-point forms and the loss are shown; nothing is compared again."""
    from l2m_eval.measurements import curves

    def compared_again(*_args, **_kwargs):
        raise AssertionError("rival shapes were compared again")

    monkeypatch.setattr(curves, "compare_shapes", compared_again)
    results = load_results(EXAMPLES / "results")
    report = make_report(results)
    told = {
        name: {row[heading].value for row in cells(report, name)}
        for name, heading in (
            ("shapes", "its goodness of fit p"),
            ("two-point-fits", "goodness of fit p"),
            ("losses", "goodness of fit p"),
        )
    }
    fits = [one.position.fit for one in results if one.position is not None]
    assert told == {
        "shapes": {c.shapes[0].p_value for one in results for c in one.bipartite if c.estimator == "direct"},
        "two-point-fits": {
            f.p_value for one in results for c in one.two_point for f in c.fits if not f.reason
        },
        "losses": {fit.p_value for fit in fits if not fit.reason},
    }
    assert sum(map(len, told.values())) > 8


def test_results_from_before_shapes_were_kept_are_compared_as_a_run_compares_them(tmp_path):
    write_bipartite(tmp_path, "m", planted(0.4))
    (one,) = load_results(tmp_path)
    assert one.curve("direct").stored_shapes is None
    now = one.resampled_curve("direct").shapes  # what a run of today writes
    assert [(f.shape, f.p_value, f.best_share) for f in one.shapes("direct")] == [
        (f.shape, f.p_value, f.best_share) for f in now
    ]
    assert all(np.isfinite(f.p_value) for f in now)
