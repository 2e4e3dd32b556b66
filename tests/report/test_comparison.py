"""Comparison of models: what pairing gains, and that ranks respect errors."""

from dataclasses import replace

import numpy as np
import pytest
from planted_runs import LENGTHS, planted, write_bipartite

from l2m_eval.errors import L2MError
from l2m_eval.report.comparison import paired_difference, standings
from l2m_eval.report.labelled import Shown
from l2m_eval.report.sections.differences import comparison_section, ranked_length
from l2m_eval.report.selection import bipartite_groups, select
from l2m_eval.results.check import compare_with
from l2m_eval.results.load import load_results
from l2m_eval.statistics.estimate import Estimate


def shown(results):
    return [Shown(one.run.label, one.curve("direct"), i, one) for i, one in enumerate(results)]


def test_the_difference_is_that_of_the_curves_and_its_error_is_the_paired_one(two_models):
    first, second = shown(two_models)
    found = paired_difference(first, second)
    np.testing.assert_allclose(found.difference, first.curve.mi - second.curve.mi)
    # What differs between the models of one document is noise of 0.5 each; over 40 documents that is 0.5·√2/√40.
    # The bootstrap of 40 knows its own error to about 11 %; four times that, six lengths.
    np.testing.assert_allclose(found.standard_error, 0.5 * np.sqrt(2 / 40), rtol=0.45)
    # The noise of 2 that all models share enters each curve's own error, and so the unpaired one.
    assert (found.unpaired_error > 2.5 * found.standard_error).all()


def test_the_paired_error_agrees_with_the_plain_standard_error_of_the_differences(two_models):
    first, second = shown(two_models)
    terms = first.results.bipartite_terms("direct")[0] - second.results.bipartite_terms("direct")[0]
    plain = terms.std(axis=0, ddof=1) / np.sqrt(len(terms))
    # Two ways to one number; the central spread of 1000 resamples gives a standard error to about 3 %, here within
    # four of that.
    np.testing.assert_allclose(paired_difference(first, second).standard_error, plain, rtol=0.12)


def test_the_order_of_the_models_only_changes_the_sign(two_models):
    first, second = shown(two_models)
    there, back = paired_difference(first, second), paired_difference(second, first)
    np.testing.assert_allclose(there.difference, -back.difference)
    # Quantiles of 1000 resamples from above and from below lie at most one resample apart.
    np.testing.assert_allclose(there.standard_error, back.standard_error, rtol=0.02)
    assert there.beta.value == pytest.approx(-back.beta.value)
    np.testing.assert_allclose(there.low, -back.high, atol=0.05)


def test_exponents_differ_as_planted(two_models):
    beta = paired_difference(*shown(two_models)).beta
    assert beta.interval[0] < 0.35 < beta.interval[1]
    assert beta.interval[0] > 0


def test_a_model_against_itself_differs_by_nothing(tmp_path):
    for model in ("a", "b"):
        write_bipartite(tmp_path, model, planted(0.3))
    found = paired_difference(*shown(load_results(tmp_path)))
    assert not found.difference.any()
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-12)


def test_other_documents_and_missing_logs_are_refused_in_one_line(tmp_path):
    write_bipartite(tmp_path, "a", planted(0.3))
    write_bipartite(tmp_path, "b", planted(0.3), document="another")
    write_bipartite(tmp_path, "c", planted(0.3), log=False)
    a, b, c = shown(load_results(tmp_path))
    with pytest.raises(L2MError, match="different documents"):
        paired_difference(a, b)
    with pytest.raises(L2MError, match="--log_samples"):
        paired_difference(a, c)


def test_different_tokenizers_compare_in_bytes_alone(tmp_path):
    law = planted(0.5, noise=0.0, shared=0.0)
    write_bipartite(tmp_path, "a", law, bytes_per_token=4.0)
    # The second tokenizer has tokens half as long: the same text is at twice the tokens.
    write_bipartite(tmp_path, "b", 3 * (np.array(LENGTHS) / 2) ** 0.5 * np.ones((40, 1)), bytes_per_token=2.0)
    a, b = shown(load_results(tmp_path))
    with pytest.raises(L2MError, match=r"different tokenizers.*give unit bytes"):
        paired_difference(a, b)
    found = paired_difference(a, b, unit="bytes")
    assert found.lengths.tolist() == [16, 32, 64, 128, 256]  # what both cover, in bytes
    # The same law of the text in bytes, seen through either tokenizer; interpolation in logarithms is exact for it.
    np.testing.assert_allclose(found.difference, 0, atol=1e-9)


def test_models_that_cannot_be_told_apart_share_their_places():
    rows = standings(["a", "b", "c"], [Estimate.of_mean(value, 1.0, 40) for value in (10, 9.5, 2)])
    assert [(row.label, row.place) for row in rows] == [("a", "1–2"), ("b", "1–2"), ("c", "3")]


def test_a_paired_difference_may_tell_apart_what_separate_errors_do_not():
    paired = {("a", "b"): Estimate(0.5, 0.1, (0.3, 0.7))}
    rows = standings(["a", "b"], [Estimate(10, 1.0), Estimate(9.5, 1.0)], paired)
    assert [(row.label, row.place) for row in rows] == [("a", "1"), ("b", "2")]
    losses = standings(["a", "b"], [Estimate(10, 1.0), Estimate(9.5, 1.0)], paired, larger_is_better=False)
    assert [(row.label, row.place) for row in losses] == [("b", "1"), ("a", "2")]


def test_without_errors_nothing_is_ahead_of_anything():
    rows = standings(["a", "b"], [Estimate(10), Estimate(1)])
    assert {row.place for row in rows} == {"1–2"}


def test_a_ranking_in_bytes_is_what_the_paired_difference_at_that_length_says(tmp_path):
    """Four documents: separate errors by the normal distribution told apart what the documents do not.

    The longest text that both cover lies between two measured lengths of one of them; the difference there is in
    the table of differences, so that the two tables cannot disagree.
    """
    rng = np.random.default_rng(5)
    for model, size, growth in (("a", 4.0, 0.75), ("b", 3.0, 0.72)):
        information = 3 * np.array(LENGTHS, float) ** growth + 8 * rng.normal(size=(4, 1))
        write_bipartite(tmp_path, model, information, bytes_per_token=size)
    (group,) = [g for g in bipartite_groups(select(load_results(tmp_path))) if g.unit == "bytes"]
    section = comparison_section([group], [], None)
    end = ranked_length(group)
    assert end == 3.0 * LENGTHS[-1]
    (difference,) = [paired_difference(*group.curves, unit="bytes", at=end, seed=7)]
    at_end = int(np.flatnonzero(difference.lengths == end)[0])
    told_apart = difference.low[at_end] > 0 or difference.high[at_end] < 0
    (ranking,) = [table for table in section.lead if table.name.startswith("ranking")]
    places = {row[1].text: row[0].text for row in ranking.rows}
    assert (len(set(places.values())) == 2) == told_apart
    assert not told_apart  # four documents that scatter this much decide nothing
    assert set(places.values()) == {"1–2"}


def test_separate_errors_of_few_documents_reach_as_far_as_students_t():
    """A gap of 2.5 joint errors: beyond 1.96 of a normal distribution, within 3.18 of Student's t for 4 documents."""
    gap = 2.5 * np.sqrt(2)
    for clusters, places in ((4, {"1–2"}), (1000, {"1", "2"})):
        rows = standings(
            ["a", "b"], [Estimate.of_mean(10 + gap, 1.0, clusters), Estimate.of_mean(10, 1.0, clusters)]
        )
        assert {row.place for row in rows} == places


def test_documents_that_are_grouped_differently_are_paired_by_what_both_leave_independent(tmp_path):
    """One run by source, one by partners (vCLUB's groups of two): 20 groups, in the report and in the check."""
    for model, seed in (("a", 1), ("b", 2)):
        write_bipartite(tmp_path, model, planted(0.4, seed=seed))
    first, second = load_results(tmp_path)
    log = second.documents
    by_group = tuple({**doc, "source": doc["group"]} for doc in log.docs)
    second = replace(second, documents=replace(log, docs=by_group))
    found = paired_difference(first, second)
    assert found.clusters == len({doc["group"] for doc in log.docs}) == 20
    verdict = compare_with(first, second)
    # Errors of the ratios are paired, too: what the documents share cancels, with noise of 0.5 and not of 2.
    unpaired = first.curve("direct").standard_error / second.curve("direct").mi
    assert (verdict.numbers["errors"] < 0.75 * unpaired).all()
