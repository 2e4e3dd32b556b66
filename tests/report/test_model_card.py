"""The model card: what the hub's own library reads back, and that nothing else in a card is touched."""

import json
import sys

import pytest
import yaml
from huggingface_hub import ModelCard
from planted_runs import planted, write_bipartite, write_two_point

from l2m_eval.cli.main import main
from l2m_eval.errors import L2MError
from l2m_eval.report.model_card import BEGIN, END, merged_card, results_of_one_model
from l2m_eval.results.headline import headline_quantities
from l2m_eval.results.load import load_results

CARD = """---
# a comment that stays
language: en
license:   apache-2.0   # oddly spaced
tags: [a, b]
model-index:
- name: someone
  results:
  - task: {type: text-generation}
    dataset: {name: Other, type: other/data}
    metrics:
    - {type: acc, value: 0.5, name: Accuracy, extra: kept}
datasets:
- one
---
# My model

Text with trailing spaces.   

<!-- l2m-eval results: begin -->
old
<!-- l2m-eval results: end -->

## After
"""  # noqa: W291


@pytest.fixture
def results(tmp_path):
    write_bipartite(tmp_path / "out", "m", planted(0.4))
    return load_results(tmp_path / "out")


def test_the_hubs_library_reads_every_number_with_its_error(results):
    card = ModelCard(merged_card("", "m", results))
    curve = results[0].curve("direct")
    found = {result.metric_type: result for result in card.data.eval_results}
    assert card.data.model_name == "m"
    assert found["l2m_direct_beta"].metric_value == pytest.approx(curve.beta.value, rel=1e-5)
    assert found["l2m_direct_beta"].metric_args["interval_95"] == pytest.approx(curve.beta.interval, rel=1e-5)
    assert found["l2m_direct_mi"].metric_value == pytest.approx(curve.mi[-1], rel=1e-5)
    assert found["l2m_direct_mi"].metric_args["standard_error"] == pytest.approx(
        curve.standard_error[-1], rel=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "form"),
    [({}, "power_law"), ({"null_correction": "none"}, "power_law_with_offset_in_logarithms")],
)
def test_the_decay_is_the_one_that_the_task_reports(tmp_path, settings, form):
    names = ["power_law", "power_law_with_offset_in_logarithms", "power_law_with_offset"]
    fits = [{"form": name, "alpha": 0.5 + i, "amplitude": 1.0, "reason": ""} for i, name in enumerate(names)]
    file = write_two_point(tmp_path, "m", fits=fits)
    data = json.loads(file.read_text())
    data["configs"]["l2m_two_point_text"]["l2m"]["settings"].update(settings)
    file.write_text(json.dumps(data))
    (alpha,) = [one for one in headline_quantities(load_results(file)[0]) if one.name == "two_point_alpha"]
    assert alpha.estimate.value == 0.5 + names.index(form)
    assert alpha.settings == {"form": form}


def test_a_decay_that_could_not_be_fitted_is_left_out_not_replaced(tmp_path):
    fits = [
        {"form": "power_law", "reason": "two points"},
        {"form": "power_law_with_offset", "alpha": 0.9, "reason": ""},
    ]
    (one,) = load_results(write_two_point(tmp_path, "m", fits=fits))
    assert "two_point_alpha" not in [quantity.name for quantity in headline_quantities(one)]


def test_everything_else_in_a_card_stays_byte_for_byte(results):
    merged = merged_card(CARD, "m", results)
    before, after = (
        CARD.split("model-index:")[0],
        "datasets:\n- one\n---\n# My model\n\nText with trailing spaces.   \n\n",
    )
    assert merged.startswith(before)
    assert after in merged
    assert merged.endswith("\n## After\n")
    assert "old" not in merged
    assert (merged.count(BEGIN), merged.count(END)) == (1, 1)


def test_other_results_in_the_index_stay_with_fields_we_do_not_know(results):
    merged = yaml.safe_load(merged_card(CARD, "m", results).split("---")[1])
    (entry,) = merged["model-index"]
    assert entry["name"] == "someone"
    other, ours = entry["results"]
    assert other["metrics"] == [{"type": "acc", "value": 0.5, "name": "Accuracy", "extra": "kept"}]
    assert {metric["type"] for metric in ours["metrics"]} == {
        "l2m_direct_mi",
        "l2m_direct_beta",
        "l2m_effective_context",
    }


COMMENTED = """---
license: mit
model-index:
# written by hand
- name: 'someone'   # the name
  results:
# at the margin
  - task: {type: text-generation}
    dataset: {name: Other, type: other/data}
    metrics:
    - {type: acc, value: 0.50, name: Accuracy}   # measured twice
# the end of the index
datasets: [one]
---
"""
IN_BRACKETS = """---
model-index: [{name: someone, results: [
{task: {type: text-generation}, dataset: {name: Other, type: other/data},
 metrics: [{type: acc, value: 0.5, name: Accuracy}]}]}]  # all of it
license: mit
---
"""


@pytest.mark.parametrize("card", [COMMENTED, IN_BRACKETS, COMMENTED.replace("\n", "\r\n")])
def test_comments_quotes_and_brackets_inside_the_index_stay_and_a_second_write_changes_nothing(results, card):
    merged = merged_card(card, "m", results)
    in_brackets = (
        card is IN_BRACKETS
    )  # ours are put between the last two of them, so that the line is another
    for line in card.splitlines():
        if "#" in line or "'" in line:
            assert (line.partition("#")[2] if in_brackets else line.rstrip()) in merged
    (entry,) = yaml.safe_load(merged.split("---")[1])["model-index"]
    assert entry["name"] == "someone"
    assert [m["type"] for r in entry["results"] for m in r["metrics"]].count("acc") == 1
    assert {m["type"] for r in entry["results"] for m in r["metrics"]} >= {"acc", "l2m_direct_beta"}
    assert merged_card(merged, "m", results) == merged


def test_an_index_with_a_key_twice_is_one_line(results):
    with pytest.raises(L2MError, match="model-index cannot be read"):
        merged_card("---\nmodel-index:\n- name: a\n  name: b\n  results: []\n---\n", "m", results)


def test_merging_twice_is_merging_once(results):
    once = merged_card(CARD, "m", results)
    assert merged_card(once, "m", results) == once


def test_a_new_measurement_replaces_the_old_number(results, tmp_path):
    write_bipartite(tmp_path / "new", "m", planted(0.1))
    newer = load_results(tmp_path / "new")
    merged = merged_card(merged_card(CARD, "m", results), "m", newer)
    values = [
        r.metric_value for r in ModelCard(merged).data.eval_results if r.metric_type == "l2m_direct_beta"
    ]
    assert values == [pytest.approx(newer[0].curve("direct").beta.value, rel=1e-5)]


def test_a_card_without_front_matter_or_results_gets_both(results):
    for card in ("# Title\n", "---\nlicense: mit\n---\n# Title", "---\n---\n"):
        merged = merged_card(card, "m", results)
        assert len(ModelCard(merged).data.eval_results) == 3
        assert "# Title" in merged or "Title" not in card


def test_line_endings_of_a_card_stay(results):
    merged = merged_card(CARD.replace("\n", "\r\n"), "m", results)
    assert merged.count("\n") == merged.count("\r\n")


def test_markup_in_a_models_name_is_text(tmp_path):
    write_bipartite(tmp_path, "<script>x</script>", planted(0.4))
    merged = merged_card("", *results_of_one_model(load_results(tmp_path)))
    prose = merged.split("---\n", 2)[2]
    assert "<script>" not in prose.split("```")[0]


@pytest.mark.parametrize(
    ("card", "named"),
    [
        ("---\na: [\n---\n", "not valid YAML at line"),
        ("---\n- a\n---\n", "not a mapping"),
        ("---\nmodel-index: 3\n---\n", "not a list of entries"),
        (f"---\na: 1\n---\n{BEGIN}\n", "do not stand once each"),
    ],
)
def test_a_card_that_cannot_be_read_is_refused_in_one_line(results, card, named):
    with pytest.raises(L2MError, match=named):
        merged_card(card, "m", results)


def test_several_models_need_a_choice(tmp_path):
    for model in ("a", "b"):
        write_bipartite(tmp_path, model, planted(0.4))
    loaded = load_results(tmp_path)
    with pytest.raises(L2MError, match="results are of a, b; say with --model"):
        results_of_one_model(loaded)
    with pytest.raises(L2MError, match="'c' is not in these results"):
        results_of_one_model(loaded, "c")
    assert results_of_one_model(loaded, "b")[0] == "b"


def test_the_command_prints_or_writes_and_a_second_run_changes_nothing(tmp_path, capsys):
    write_bipartite(tmp_path / "out", "m", planted(0.4))
    assert main(["model-card", str(tmp_path / "out")]) == 0
    assert len(ModelCard(capsys.readouterr().out).data.eval_results) == 3
    card = tmp_path / "README.md"
    card.write_bytes(CARD.encode())
    assert main(["model-card", str(tmp_path / "out"), "--write", str(card), "--name", "someone"]) == 0
    first = card.read_bytes()
    assert main(["model-card", str(tmp_path / "out"), "--write", str(card), "--name", "someone"]) == 0
    assert card.read_bytes() == first
    assert first.startswith(CARD.split("model-index:")[0].encode())


def test_a_refused_card_is_left_as_it_was(tmp_path, capsys):
    write_bipartite(tmp_path / "out", "m", planted(0.4))
    card = tmp_path / "README.md"
    card.write_text("---\na: [\n---\n")
    assert main(["model-card", str(tmp_path / "out"), "--write", str(card)]) == 3
    assert card.read_text() == "---\na: [\n---\n"
    assert capsys.readouterr().err.startswith("l2m-eval: error: card:")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process' files are those of POSIX")
def test_a_full_disk_costs_nobody_the_card(tmp_path, capsys):
    """No file may grow beyond 64 bytes while the card is written: it stays as it was, and nothing lies beside it."""
    import resource

    write_bipartite(tmp_path / "out", "m", planted(0.4))
    folder = tmp_path / "model"
    folder.mkdir()
    card = folder / "README.md"
    card.write_text(CARD)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        ended = main(["model-card", str(tmp_path / "out"), "--write", str(card), "--name", "someone"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ended == 3
    assert "cannot be written" in capsys.readouterr().err
    assert card.read_text() == CARD
    assert list(folder.iterdir()) == [card]


def test_a_card_keeps_its_mode_and_stays_where_its_link_leads(tmp_path, capsys):
    write_bipartite(tmp_path / "out", "m", planted(0.4))
    card, link = tmp_path / "card.md", tmp_path / "README.md"
    card.write_text(CARD)
    card.chmod(0o640)
    link.symlink_to(card)
    assert main(["model-card", str(tmp_path / "out"), "--write", str(link), "--name", "someone"]) == 0
    assert link.is_symlink()
    assert card.stat().st_mode & 0o777 == 0o640
    assert "l2m" in card.read_text()
