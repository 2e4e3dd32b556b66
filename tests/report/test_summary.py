"""The first screen: one row a model, sentences that say who is ahead only where the documents do."""

from __future__ import annotations

import numpy as np
import pytest
from planted_runs import EXAMPLES, planted, write_bipartite, write_context_use, write_position, write_run

from l2m_eval import plot_kl
from l2m_eval.measurements.kl import kl_from_records
from l2m_eval.report.build import make_report
from l2m_eval.report.page import render_page
from l2m_eval.report.sections.summary import summary_rows, summary_sentences, summary_table
from l2m_eval.report.selection import select
from l2m_eval.results.load import load_results


def summarised(results):
    selection = select(results)
    rows = summary_rows(selection)
    table = summary_table(rows, {}, ())
    heads = [column.heading for column in table.columns]
    return [dict(zip(heads, row, strict=True)) for row in table.rows], summary_sentences(rows)


def test_a_row_has_the_headline_numbers_of_its_model(tmp_path):
    write_bipartite(tmp_path, "m", planted(0.4), claimed_context=4096)
    write_position(tmp_path / "losses", "m", 3.0)
    results = load_results(tmp_path)
    ((row,), sentences) = summarised(results)
    curve = next(one for one in results if one.bipartite).curve("direct")
    assert row["claims"].value == 4096
    assert row["uses"].text == "at least 128"
    assert row["needs for 95 %"].text == "–"
    assert (row["β"].value, row["I (nats)"].value) == (curve.beta.value, curve.mi[-1])
    assert (
        row["bits a byte"].value
        == next(r for r in results if r.position).position.overall_bits_per_byte.value
    )
    assert len(sentences) == 3


def test_the_sentences_name_a_leader_only_where_the_documents_do(tmp_path):
    for model, growth, seed in (("a", 0.4, 1), ("b", 0.4, 2), ("ahead", 0.6, 3)):
        write_bipartite(tmp_path / "all", model, planted(growth, seed=seed))
    sentences = summarised(load_results(tmp_path / "all"))[1]
    assert sentences[1].startswith("ahead passes on the most information")
    two = summarised(load_results([tmp_path / "all" / "a", tmp_path / "all" / "b"]))[1]
    assert two[1].startswith("These documents do not tell which of ")


def test_the_examples_say_what_the_two_models_of_equal_loss_are_there_for():
    rows, sentences = summarised(load_results(EXAMPLES / "results"))
    books = {row["model"].text: row["uses"].text for row in rows}
    assert books["books-llama-5m"] == "at least 2,048"
    assert books["books-swa64-5m"] == "64"
    assert books["books-mamba2-1m"] == "no growth shown"
    assert "books-llama-5m passes on the most information" in sentences[1]
    assert "do not tell which of books-swa64-5m and books-llama-5m predicts the text best" in sentences[2]


def test_other_tokenizers_are_compared_at_equal_bytes_and_the_sentence_says_so(tmp_path):
    for model, size, seed in (("a", 4.18, 1), ("b", 3.27, 2)):
        write_bipartite(tmp_path, model, planted(0.4, seed=seed), bytes_per_token=size)
    sentence = summarised(load_results(tmp_path))[1][1]
    assert sentence.endswith("(nats at L = 128 tokens of each, compared at equal bytes of text).")
    many = tmp_path / "many"
    for number in range(13):  # more than are paired
        write_bipartite(many, f"m{number}", planted(0.4), log=False, bytes_per_token=4.0 + (number == 12))
    rows = summarised(load_results(many))[1]
    assert rows[1].startswith("Not compared with each other, since tokenizers differ: ")


def test_one_model_is_said_in_whole_sentences(tmp_path):
    write_bipartite(tmp_path, "m", planted(0.4))
    write_position(tmp_path / "p", "m", 3.0)
    sentences = summarised(load_results(tmp_path))[1]
    assert sentences[1].startswith("m passes on ")
    assert sentences[1].endswith(" nats from one half of a text to the other (L = 128).")
    assert sentences[2].startswith("m needs ")


def test_what_a_model_uses_is_that_of_the_longest_measurement(tmp_path):
    write_bipartite(tmp_path, "m", planted(0.4), claimed_context=4096)
    write_context_use(tmp_path / "c", "m", 20.0)
    ((row,), _) = summarised(load_results(tmp_path))
    assert (
        row["uses"].text == "at least 1,024"
    )  # not the 128 tokens up to which the bipartite curve was measured


@pytest.mark.parametrize("count", [1, 4, 12])
def test_the_summary_is_the_first_thing_on_the_page_with_a_row_for_each_model(tmp_path, count):
    for number in range(count):
        write_bipartite(tmp_path, f"model-{number}", planted(0.4, seed=number), log=False)
    report = make_report(load_results(tmp_path))
    html = render_page(report)
    assert [table.name for table in report.tables].index("summary") == 0
    assert html.count("<caption><span>What to conclude") == 1
    assert len(report.tables[0].rows) == count
    assert html.index("<table") < html.index("<figure")


def test_figures_of_one_corpus_have_titles_of_their_own_and_none_in_bytes_speaks_of_tokens(tmp_path):
    for model, size in (("fine", 2.0), ("coarse", 4.0)):
        write_bipartite(tmp_path, model, planted(0.4), bytes_per_token=size)
    figures = [f for f in make_report(load_results(tmp_path)).figures if f.name.startswith("bipartite")]
    assert len({figure.title for figure in figures}) == len(figures) == 3
    in_bytes = next(figure for figure in figures if figure.title.endswith("by bytes"))
    assert not any(" tokens to " in sentence for sentence in in_bytes.sentences)


def test_a_divergence_is_drawn_and_tabled(tmp_path):
    """Sums over bins 1, 2-3, 4-7: log p − log q is 0.1, 0.2, 0.3 a token in every document, so that is the curve."""
    record = {"length": 7, "log_p": [0.0, 0.0, 0.0], "log_q": [-0.1, -0.4, -1.2], "tokens_scored": 7}
    samples = [({"index": i, "source": i}, record) for i in range(5)]
    curve = kl_from_records([record] * 5, [doc for doc, _ in samples])
    block = {
        "schema": "l2m-eval/kl/1",
        "settings": {"seed": 7, "corpus": ["process"], "process": "markov"},
        "sample": {"documents": 5},
        "versions": {},
        "warnings": [],
        "curve": curve.to_json(),
    }
    write_run(tmp_path, "m", "l2m_kl_process", block, samples=samples)
    results = load_results(tmp_path)
    ax = plot_kl(results)
    assert np.allclose(ax.lines[0].get_ydata(), [0.1, 0.2, 0.3])
    report = make_report(results)
    assert "kl" in {section.name for section in report.sections}
    table = next(table for table in report.tables if table.name == "kl")
    assert np.allclose([row[2].value for row in table.rows], [0.1, 0.2, 0.3])
