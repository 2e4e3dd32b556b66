"""A two-point curve by its parts: a second computation from dictionaries, and how the parts make its errors."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from l2m_eval.estimators.two_point.curve import DISTANCES as PUBLISHED
from l2m_eval.estimators.two_point.curve import two_point_mutual_information
from l2m_eval.estimators.two_point.estimation import PairEstimation
from l2m_eval.estimators.two_point.null_expected import expected_pair_entropy
from l2m_eval.estimators.two_point.null_measured import interpolated, null_anchors
from l2m_eval.statistics.jackknife import jackknife_error, jackknife_groups

DISTANCES = [1, 2, 25]  # the last is longer than some documents


def test_distances_are_the_published_ones_unless_others_are_given():
    assert PUBLISHED == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def texts(count=9, seed=0):
    """Documents of different lengths over five tokens, each likely to be the one before it."""
    rng = np.random.default_rng(seed)
    documents = []
    for length in rng.integers(20, 60, count):
        tokens = rng.integers(0, 5, length)
        stays = rng.random(length) < 0.5
        for i in range(1, length):
            tokens[i] = tokens[i - 1] if stays[i] else tokens[i]
        documents.append(tokens)
    return documents


def entropy(outcomes):
    n = np.array(list(Counter(outcomes).values()), float)
    return -(n / n.sum() * np.log(n / n.sum())).sum()


def information(documents, distance, marginals):
    pairs = [(int(a), int(b)) for d in documents for a, b in zip(d[:-distance], d[distance:], strict=True)]
    firsts, seconds = zip(*pairs, strict=True)
    everything = [int(token) for document in documents for token in document]
    single = entropy(firsts) + entropy(seconds) if marginals == "pairs" else 2 * entropy(everything)
    return single - entropy(pairs)


@pytest.mark.parametrize("marginals", ["pairs", "global"])
def test_estimate_replicates_error_and_interval_are_those_of_counting_again_without_each_group(marginals):
    documents = texts()
    settings = PairEstimation("plugin", marginals, null="none", groups=4, seed=3)
    curve = two_point_mutual_information(documents, DISTANCES, settings)
    group = jackknife_groups([len(d) for d in documents], 4, seed=3)
    reach = stats.t.ppf(0.975, 3)
    for k, distance in enumerate(DISTANCES):
        whole = information(documents, distance, marginals)
        without = [
            information([d for d, g in zip(documents, group, strict=True) if g != left], distance, marginals)
            for left in range(4)
        ]
        error = jackknife_error(without)
        assert (curve.mi[k], curve.uncorrected[k], curve.null[k]) == pytest.approx((whole, whole, 0))
        assert curve.replicates[:, k] == pytest.approx(without)
        assert curve.standard_error[k] == pytest.approx(error)
        assert curve.interval[k] == pytest.approx((whole - reach * error, whole + reach * error))
        assert curve.floor[k] == pytest.approx(2 * error)
        assert curve.bias[k] == pytest.approx(3 * (np.mean(without) - whole))
        assert curve.pairs[k] == sum(max(len(d) - distance, 0) for d in documents)
    assert (curve.documents, curve.groups, curve.shuffles, curve.seed) == (9, 4, 0, 3)
    assert not curve.biased.any()


@pytest.mark.parametrize("marginals", ["pairs", "global"])
@pytest.mark.parametrize("null", ["shuffle", "shift"])
def test_a_replicates_null_follows_from_the_tokens_of_its_own_documents(null, marginals):
    """The measured null, moved by what the expected one of independent tokens and the marginals move by."""
    documents = texts(count=12)
    settings = PairEstimation("plugin", marginals, null=null, groups=4)
    curve = two_point_mutual_information(documents, DISTANCES, settings)
    group = jackknife_groups([len(d) for d in documents], 4)

    def expected_null(chosen, distance):
        firsts, seconds = (
            np.bincount(np.concatenate(part), minlength=5)
            for part in zip(*((d[:-distance], d[distance:]) for d in chosen), strict=True)
        )
        single = sum(-(n[n > 0] / n.sum() * np.log(n[n > 0] / n.sum())).sum() for n in (firsts, seconds))
        unconnected = expected_pair_entropy(firsts, seconds, settings.entropies)
        edges = information(chosen, distance, marginals) - information(chosen, distance, "pairs")
        return single - unconnected + edges

    for k, distance in enumerate(DISTANCES):
        whole = expected_null(documents, distance)
        for left in range(4):
            others = [d for d, g in zip(documents, group, strict=True) if g != left]
            moved = expected_null(others, distance) - whole
            expected = information(others, distance, marginals) - (curve.null[k] + moved)
            assert curve.replicates[left, k] == pytest.approx(expected, abs=1e-9)  # rounding of a convolution


@pytest.mark.parametrize("null", ["shuffle", "shift"])
def test_the_error_has_the_part_of_the_shuffles_and_the_floor_their_spread(null):
    """Of many pairs of few tokens no bias is told: what is left is the jackknife and the mean of the nulls."""
    documents = np.random.default_rng(1).integers(0, 3, size=(12, 400))
    settings = PairEstimation("plugin", null=null, shuffles=3, groups=6)
    curve = two_point_mutual_information(documents, [1, 2], settings)
    seen = jackknife_error(curve.replicates)
    unseen = curve.null_spread / math.sqrt(3)
    assert (curve.null_spread > 0).all()
    np.testing.assert_allclose(curve.scatter, np.hypot(seen, unseen))
    np.testing.assert_allclose(curve.floor, 2 * np.hypot(curve.standard_error, curve.null_spread))
    np.testing.assert_allclose(curve.unseen_error, np.sqrt(curve.standard_error**2 - seen**2))
    np.testing.assert_allclose(curve.mi, curve.uncorrected - curve.null)
    np.testing.assert_array_equal(curve.biased, curve.standard_error > curve.scatter)
    assert (curve.shuffles, curve.null_method) == (3, null)


def test_the_shifted_null_counts_bias_from_where_it_is_largest():
    """Of the distances one has none, by its choice; the others have what they differ by."""
    curve = two_point_mutual_information(texts(), DISTANCES, PairEstimation("plugin", null="shift", groups=4))
    told = 3 * (curve.replicates.mean(axis=0) - curve.mi)
    np.testing.assert_allclose(curve.bias, told - told.max(), atol=1e-12)
    assert curve.bias.max() == 0


def test_parity_is_a_part_of_the_error_of_grassbergers_estimator_alone():
    """Without a null the rest is the jackknife, which is of the estimator without the term."""
    documents = texts()
    found = {
        method: two_point_mutual_information(documents, [1], PairEstimation(method, null="none", groups=4))
        for method in ("grassberger", "miller_madow")
    }
    unseen = {method: float(curve.unseen_error[0]) for method, curve in found.items()}
    assert unseen["miller_madow"] == pytest.approx(0, abs=1e-8)  # the root of a rounding
    pairs = Counter((int(a), int(b)) for d in documents for a, b in itertools.pairwise(d))
    counts = np.unique(list(pairs.values()), return_counts=True)
    parity = PairEstimation().entropies.parity_variance(*counts)
    assert unseen["grassberger"] == pytest.approx(math.sqrt(parity) / found["grassberger"].pairs[0])


def test_a_null_is_measured_where_pair_counts_have_fallen_by_a_quarter_and_interpolated_between():
    pairs = np.array([1000, 950, 900, 810, 700, 100, 99])
    # 1000 / 1.25 = 800, 810 / 1.25 = 648, then a gap, then 100 / 1.25 = 80
    assert null_anchors(pairs) == [0, 3, 4, 5, 6]
    assert null_anchors(np.array([1000, 800])) == [0, 1]
    assert null_anchors(np.array([1000])) == [0]
    assert null_anchors(np.array([1000, 990, 980])) == [0, 2]
    measured = np.array([[1.0, 3.0], [2.0, 8.0]])
    mean, spread = interpolated(measured, [0, 2], np.array([1000, 900, 810]))
    assert mean == pytest.approx([2, 3.5, 5])  # 900 is the geometric mean of its neighbours
    assert spread == pytest.approx([math.sqrt(2), 2 * math.sqrt(2), 3 * math.sqrt(2)])
    nothing = interpolated(measured[:0], [], pairs)
    assert np.array_equal(nothing, np.zeros((2, 7)))
