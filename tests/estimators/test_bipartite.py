"""The bipartite estimators on numbers whose mutual information is known."""

import itertools

import numpy as np
import pytest

from l2m_eval.estimators.bipartite import (
    clustered_mean,
    control_variate,
    direct_terms,
    ngram_corrected,
    vclub_terms,
)


@pytest.fixture
def joint():
    """A joint distribution of two variables of five and six values, with its exact quantities."""
    rng = np.random.default_rng(3)
    table = rng.dirichlet(np.full(30, 0.4)).reshape(5, 6)
    row, column = table.sum(axis=1), table.sum(axis=0)
    information = (table * np.log(table / np.outer(row, column))).sum()
    return table, row, column, information


def draw(table, count, rng):
    cells = rng.choice(table.size, size=count, p=table.ravel())
    return np.divmod(cells, table.shape[1])


def test_direct_estimates_the_mutual_information_of_an_exact_model(joint):
    table, row, column, information = joint
    x, y = draw(table, 20_000, np.random.default_rng(0))
    terms = direct_terms(np.log(table[x, y] / row[x])[:, None], np.log(column[y])[:, None])
    estimate = clustered_mean(terms, np.arange(len(terms)))
    # Four standard errors: one false alarm in 16,000 seeds.
    assert abs(estimate.value[0] - information) < 4 * estimate.standard_error[0]


def test_independent_marginals_have_the_same_expectation_and_a_larger_error(joint):
    table, row, column, information = joint
    rng = np.random.default_rng(1)
    x, y = draw(table, 20_000, rng)
    _, other = draw(table, 20_000, rng)
    conditional = np.log(table[x, y] / row[x])[:, None]
    documents = np.arange(len(x))
    paired = clustered_mean(direct_terms(conditional, np.log(column[y])[:, None]), documents)
    independent = clustered_mean(direct_terms(conditional, np.log(column[other])[:, None]), documents)
    assert abs(independent.value[0] - information) < 4 * independent.standard_error[0]
    assert independent.standard_error[0] > 1.2 * paired.standard_error[0]


def test_vclub_is_an_upper_bound_for_an_exact_model(joint):
    table, row, column, information = joint
    # The exact expectation of vCLUB: I(X;Y) plus the mean divergence of the marginal from the conditionals.
    conditional = table / row[:, None]
    expectation = (table * np.log(conditional)).sum() - (np.outer(row, column) * np.log(conditional)).sum()
    x, y = draw(table, 20_000, np.random.default_rng(2))
    partner = np.roll(y, 1)
    terms = vclub_terms(np.log(conditional[x, y])[:, None], np.log(conditional[x, partner])[:, None, None])
    estimate = clustered_mean(terms, np.arange(len(x)) // 2)
    assert abs(estimate.value[0] - expectation) < 4 * estimate.standard_error[0]
    assert expectation > information


def test_the_control_variate_has_mean_zero_over_mutual_partners():
    marginal = np.random.default_rng(4).normal(size=(10, 3))
    partner = marginal[np.arange(10) ^ 1][:, None, :]
    assert control_variate(marginal, partner).mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)


def test_ngram_correction_is_the_published_formula():
    corrected = ngram_corrected([[-100.0]], [[-30.0]], entropy=9.0, n=2)
    assert corrected[0, 0] == pytest.approx(-70 + (4 * -9.0 + -30.0) / 5)


def test_correcting_first_tokens_that_already_match_the_entropy_changes_nothing():
    assert ngram_corrected([[-50.0]], [[-9.0]], entropy=9.0)[0, 0] == pytest.approx(-50.0)


def test_two_first_tokens_are_corrected_unless_another_number_is_given():
    values = [[-50.0]], [[-9.0]]
    assert ngram_corrected(*values, entropy=7.0) == ngram_corrected(*values, entropy=7.0, n=2)
    assert ngram_corrected(*values, entropy=7.0, n=1)[0, 0] == pytest.approx(-41 + (2 * -7.0 - 9.0) / 3)


def test_log_probabilities_in_float32_are_added_in_float64():
    """A sum over a thousand tokens has steps of 2^-11 nats in float32: enough to be seen in a mean of documents."""
    rng = np.random.default_rng(11)
    sums = (-7000 * rng.random((300, 3, 2))).astype(np.float32)
    one = sums[:, 0]
    for estimate in (
        lambda sums, one: direct_terms(one, sums[:, 1]),
        lambda sums, one: vclub_terms(one, sums),
        lambda sums, one: control_variate(one, sums),
        lambda sums, one: ngram_corrected(one, sums[:, 1], 9.0),
        lambda sums, one: clustered_mean(one, np.arange(300)).value,
        lambda sums, one: clustered_mean(one, np.arange(300)).standard_error,
    ):
        found = estimate(sums, one)
        assert found.dtype == np.float64
        assert np.array_equal(found, estimate(sums.astype(float), one.astype(float)))


def test_with_one_document_per_cluster_the_error_is_that_of_a_mean():
    terms = np.random.default_rng(5).normal(size=(40, 2))
    estimate = clustered_mean(terms, np.arange(40))
    assert estimate.standard_error == pytest.approx(terms.std(axis=0, ddof=1) / np.sqrt(40))


def test_copies_of_a_document_do_not_shrink_the_error():
    """Ten copies of each document carry no more information than one."""
    terms = np.random.default_rng(6).normal(size=(40, 1))
    once = clustered_mean(terms, np.arange(40))
    copied = clustered_mean(np.repeat(terms, 10, axis=0), np.repeat(np.arange(40), 10))
    assert copied.standard_error == pytest.approx(once.standard_error)
    assert copied.value == pytest.approx(once.value)
    assert copied.clusters == once.clusters == 40


def test_one_cluster_has_no_standard_error():
    estimate = clustered_mean([[1.0], [2.0]], [7, 7])
    assert np.isnan(estimate.standard_error[0])
    assert estimate.value[0] == 1.5


def test_the_order_of_documents_does_not_matter():
    rng = np.random.default_rng(7)
    terms, clusters = rng.normal(size=(30, 2)), rng.integers(0, 9, size=30)
    order = rng.permutation(30)
    first, second = clustered_mean(terms, clusters), clustered_mean(terms[order], clusters[order])
    assert first.value == pytest.approx(second.value)
    assert first.standard_error == pytest.approx(second.standard_error)


def test_clustered_errors_match_the_spread_over_many_samples():
    """Clusters of unequal size, a shared effect in each: the error must be that of the estimate, on average."""
    rng = np.random.default_rng(8)
    sizes = [1, 2, 3, 4] * 10
    clusters = np.repeat(np.arange(40), sizes)
    means, errors = [], []
    for _ in range(1500):
        terms = rng.normal(size=40)[clusters] + 0.3 * rng.normal(size=len(clusters))
        estimate = clustered_mean(terms[:, None], clusters)
        means.append(estimate.value[0])
        errors.append(estimate.standard_error[0])
    # 1500 samples know a standard deviation to 2 %; the linearised error is low by about 1/40 here.
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.08)


def test_published_scripts_on_their_own_layout_give_the_same_numbers():
    """For each pair of documents the published scripts keep log-probabilities of three kinds of sequences.

    ``no_split``: document i, N tokens. ``split_k``: the first k tokens of document i, then document j from token
    k on. ``marginal_k``: document j from token k on, alone. The expected values are their formulas, as loops.
    """
    rng = np.random.default_rng(9)
    pairs, length = 6, 64
    lefts = [2, 4, 8, 16, 32]
    files = [
        {
            "no_split": -rng.exponential(3.0, size=length),
            **{f"split_{k}": -rng.exponential(3.0, size=length) for k in lefts},
            **{f"marginal_{k}": -rng.exponential(3.0, size=length - k) for k in lefts},
        }
        for _ in range(pairs)
    ]
    entropy = 7.25
    direct_expected, vclub_expected = [], []
    for k in lefts:
        direct_sum = vclub_sum = 0.0
        for file in files:
            conditional = 0.0
            for t in range(k, 2 * k):
                conditional += file["no_split"][t]
            first = marginal = 0.0
            for t in range(k):
                if t < 2:
                    first += file[f"marginal_{k}"][t]
                else:
                    marginal += file[f"marginal_{k}"][t]
            corrected = (4 * (-entropy) + first) / 5
            direct_sum += conditional - (marginal + corrected)
            crossed = 0.0
            for t in range(k, 2 * k):
                crossed += file[f"split_{k}"][t]
            vclub_sum += conditional - crossed
        direct_expected.append(direct_sum / pairs)
        vclub_expected.append(vclub_sum / pairs)
    conditional = [[f["no_split"][k : 2 * k].sum() for k in lefts] for f in files]
    marginal = [[f[f"marginal_{k}"][:k].sum() for k in lefts] for f in files]
    first = [[f[f"marginal_{k}"][:2].sum() for k in lefts] for f in files]
    crossed = [[[f[f"split_{k}"][k : 2 * k].sum() for k in lefts]] for f in files]
    direct = direct_terms(conditional, ngram_corrected(marginal, first, entropy, 2))
    assert direct.mean(axis=0) == pytest.approx(direct_expected, abs=1e-9)
    assert vclub_terms(conditional, crossed).mean(axis=0) == pytest.approx(vclub_expected, abs=1e-9)


def test_several_partners_average():
    conditional = np.zeros((2, 1))
    crossed = np.array([[[-1.0], [-3.0]], [[-2.0], [-6.0]]])
    assert vclub_terms(conditional, crossed)[:, 0].tolist() == [2.0, 4.0]
    for a, b in itertools.permutations(range(2)):
        assert vclub_terms(conditional, crossed[:, [a, b]])[:, 0].tolist() == [2.0, 4.0]
