"""Two-point mutual information: processes whose value is known, and counting by an independent, slower way."""

import numpy as np
import pytest
from token_sources import (
    mixing_santa_fe,
    mixing_santa_fe_information,
    stepping_chain,
    stepping_information,
    zipf,
)
from tolerances import of_a_sum

from l2m_eval.errors import L2MError
from l2m_eval.estimators.entropy import entropy_estimator
from l2m_eval.estimators.two_point.curve import two_point_mutual_information
from l2m_eval.estimators.two_point.estimation import PairEstimation
from l2m_eval.estimators.two_point.fit import (
    fit_power_law_above_floor,
)
from l2m_eval.estimators.two_point.null_expected import expected_pair_entropy
from l2m_eval.estimators.two_point.null_shuffled import draw_without_replacement, shuffled_pair_information
from l2m_eval.estimators.two_point.token_sequences import TokenSequences, write_token_sequences
from l2m_eval.processes import Markov
from l2m_eval.statistics.intervals import student_t
from l2m_eval.statistics.jackknife import jackknife_error, jackknife_groups

# Known answers


def test_independent_tokens_have_none_at_any_distance():
    rng = np.random.default_rng(0)
    tokens = rng.choice(1000, size=(64, 2000), p=zipf(1000))
    curve = two_point_mutual_information(tokens, [1, 3, 10, 100, 1000])
    assert (np.abs(curve.mi) < 4 * curve.standard_error + 4 * curve.null_spread).all()
    assert (curve.uncorrected > 10 * np.abs(curve.mi)).all()  # the bias that the null takes away
    assert "above the noise floor" in fit_power_law_above_floor(curve).reason
    assert np.isnan(fit_power_law_above_floor(curve).exponent.value)


def test_a_markov_chain_follows_the_powers_of_its_matrix():
    rng = np.random.default_rng(1)
    matrix = rng.dirichlet(np.full(6, 0.5), size=6)
    stationary = np.linalg.matrix_power(matrix, 1000)[0]
    tokens = np.empty((200, 2000), dtype=int)
    tokens[:, 0] = rng.choice(6, size=200, p=stationary)
    edges = matrix.cumsum(axis=1)
    for t in range(1, 2000):
        tokens[:, t] = (rng.random((200, 1)) > edges[tokens[:, t - 1]]).sum(axis=1).clip(max=5)
    distances = [1, 2, 3, 5, 200]
    exact = []
    for d in distances:
        joint = stationary[:, None] * np.linalg.matrix_power(matrix, d)
        exact.append((joint * np.log(joint / np.outer(stationary, stationary))).sum())
    for estimator in ("grassberger", "plugin", "miller_madow"):
        curve = two_point_mutual_information(tokens, distances, PairEstimation(estimator=estimator))
        # 36 pairs, 4e5 samples: well sampled, so all estimators agree; 4 errors, and 25/2N for the last of the bias
        assert (np.abs(curve.mi - exact) < 4 * curve.standard_error + 25 / 4e5).all()


def test_a_periodic_sequence_has_the_logarithm_of_its_period():
    tokens = [np.arange(3000) % 7] * 8
    curve = two_point_mutual_information(tokens, [1, 2, 6, 7, 50])
    # 7 pairs among 24,000: biases of order 36 / 2N
    np.testing.assert_allclose(curve.mi, np.log(7), atol=36 / 24_000)


def test_a_mixing_santa_fe_process_has_its_exact_curve_and_power_law():
    rng = np.random.default_rng(2)
    distances = 2 ** np.arange(0, 9)
    sequences, p = mixing_santa_fe(rng, 64, 20_000, facts=200, beta=0.5, c=0.2)
    exact = mixing_santa_fe_information(p, 0.2, distances)
    curve = two_point_mutual_information(sequences, distances)
    assert (np.abs(curve.mi - exact) < 4 * curve.standard_error + 1e-3 * exact).all()

    fit = fit_power_law_above_floor(curve)
    used = np.isin(distances, fit.distances)
    slope = -np.polyfit(np.log(distances[used]), np.log(exact[used]), 1)[0]
    assert fit.exponent.value == pytest.approx(slope, abs=4 * fit.exponent.standard_error)
    assert fit.exponent.standard_error < 0.1


@pytest.mark.parametrize("tokens", [10**5, 10**6])
def test_the_null_correction_brings_the_estimate_closer(tokens):
    rng = np.random.default_rng(3)
    distances = [1, 2, 4, 8, 16, 32]
    documents = stepping_chain(rng, 50, tokens // 50, 1000, step=0.5)
    exact = stepping_information(1000, 0.5, distances)
    curve = two_point_mutual_information(documents, distances)
    error, without = np.abs(curve.mi - exact), np.abs(curve.uncorrected - exact)
    # where dependence is weak the null is exact; where it is strong there are fewer different pairs than in it
    assert (error[2:] < without[2:] / 5).all()
    assert error.mean() < without.mean()


# The null


def test_a_draw_without_replacement_is_multivariate_hypergeometric():
    rng = np.random.default_rng(7)
    counts = np.array([5, 1, 0, 14])
    draws = np.array([draw_without_replacement(rng, counts, 8) for _ in range(20_000)])
    assert (draws.sum(axis=1) == 8).all()
    assert (draws <= counts).all()
    share = counts / 20
    variance = 8 * share * (1 - share) * 12 / 19
    # the means of 20,000 draws are known to sqrt(variance / 20,000), and the variances to about 1 percent; 4 of each
    np.testing.assert_allclose(draws.mean(axis=0), 8 * share, atol=4 * np.sqrt(1.68 / 20_000))
    np.testing.assert_allclose(draws.var(axis=0), variance, rtol=0.05)


def test_the_null_is_that_of_one_shuffle_of_everything(monkeypatch):
    rng = np.random.default_rng(8)
    tokens = rng.choice(500, size=20_000, p=zipf(500))
    counts = np.bincount(tokens, minlength=500)
    monkeypatch.setattr(
        "l2m_eval.estimators.two_point.null_shuffled.PART", 1500
    )  # single tokens, and many parts
    by_parts = [shuffled_pair_information(counts, counts, "grassberger", rng) for _ in range(40)]
    contribution, n = entropy_estimator("grassberger").contribution, len(tokens)
    at_once = []
    for _ in range(40):
        pairs = np.unique(tokens * 500 + rng.permutation(tokens), return_counts=True)[1]
        marginal = np.log(n) - contribution(counts).sum() / n
        at_once.append(2 * marginal - np.log(n) + contribution(pairs).sum() / n)
    difference = np.mean(by_parts) - np.mean(at_once)
    assert abs(difference) < 4 * np.sqrt((np.var(by_parts) + np.var(at_once)) / 40)
    assert np.std(by_parts) == pytest.approx(np.std(at_once), rel=0.5)  # each known to 11 percent; 3 of both


def test_the_corrected_estimate_does_not_depend_on_the_marginals():
    rng = np.random.default_rng(9)
    documents = stepping_chain(rng, 40, 300, 100, step=0.3)
    own = two_point_mutual_information(documents, [1, 64, 256])
    published = two_point_mutual_information(documents, [1, 64, 256], PairEstimation(marginals="global"))
    # Marginals are sums over a hundred tokens, of no more than ten nats, and cancel between estimate and null.
    rounding = 4 * of_a_sum(100, 10.0)
    np.testing.assert_allclose(own.mi, published.mi, atol=rounding)
    np.testing.assert_allclose(own.standard_error, published.standard_error, atol=rounding)
    assert np.abs(own.uncorrected - published.uncorrected)[-1] > 1e-4


@pytest.mark.parametrize("vocabulary", [4, 500])
@pytest.mark.parametrize("method", ["grassberger", "plugin", "miller_madow"])
def test_the_expected_null_is_the_mean_of_shuffles(method, vocabulary):
    """For many tokens, and for few that are frequent, whose pairs are less scattered than Poisson ones."""
    rng = np.random.default_rng(14)
    firsts, seconds = (rng.multinomial(20_000, zipf(vocabulary)) for _ in range(2))
    shuffles = [shuffled_pair_information(firsts, seconds, method, rng) for _ in range(100)]
    estimator = entropy_estimator(method)
    marginal = sum(estimator.from_sum(estimator.contribution(n).sum(), 20_000) for n in (firsts, seconds))
    expected = marginal - expected_pair_entropy(firsts, seconds, estimator)
    # The grid of ln n and what is left of "nearly Poisson" beside four errors of the mean of shuffles.
    assert expected == pytest.approx(np.mean(shuffles), abs=0.4 * np.std(shuffles) + 2e-5)


def test_independent_tokens_of_a_large_vocabulary_have_no_bias_left():
    """Leaving out groups changes estimate and null alike, so that nothing passes for a bias."""
    rng = np.random.default_rng(21)
    biased = []
    for _ in range(8):
        tokens = rng.choice(4000, size=(100, 5000), p=zipf(4000))
        curve = two_point_mutual_information(tokens, [1, 16, 256])
        biased.append(np.abs(curve.bias / curve.scatter))
    # The pseudo-bias of thirty-two groups scatters by about the error itself: 24 values, 16 of them independent.
    assert np.mean(np.array(biased) > 2) < 0.2


def persistent_chain(rng, documents, length, vocabulary, stay):
    """Markov chain that stays where it is with probability `stay` and else goes anywhere, uniformly."""
    anew = rng.random((documents, length)) >= stay
    anew[:, 0] = True
    last = np.maximum.accumulate(np.where(anew, np.arange(length), 0), axis=1)
    return np.take_along_axis(rng.integers(0, vocabulary, (documents, length)), last, axis=1)


def test_a_shifted_text_knows_the_bias_that_repetition_leaves():
    rng = np.random.default_rng(15)
    documents = persistent_chain(rng, 100, 500, 50, stay=0.8)
    shuffled = two_point_mutual_information(documents, [60])
    shifted = two_point_mutual_information(documents, [60], PairEstimation(null="shift"))
    # After 60 steps 0.8^60 ~ 1e-6 is left of the dependence. 44,000 pairs that come five at a time sample 2500 cells
    # like (1 + 0.8^2) / (1 - 0.8^2) = 4.6 times fewer: a bias of about 3.6 * 2401 / 88,000 is left by shuffling.
    assert shuffled.mi[0] == pytest.approx(3.6 * 2401 / 88_000, rel=0.3)
    assert abs(shifted.mi[0]) < 4 * shifted.standard_error[0]
    assert shifted.mi[0] + shifted.null[0] == pytest.approx(shifted.uncorrected[0], abs=1e-12)


def test_errors_are_the_spread_where_information_is_tiny_and_pairs_are_undersampled():
    """Independent tokens, 2000 of them in a vocabulary of 300: nearly every pair was seen once."""
    rng = np.random.default_rng(16)
    curves = [
        two_point_mutual_information(
            rng.choice(300, size=(40, 200), p=zipf(300)), [5], PairEstimation(seed=seed)
        )
        for seed in range(150)
    ]
    spread = np.std([curve.mi[0] for curve in curves], ddof=1)
    errors = np.sqrt(np.mean([curve.standard_error[0] ** 2 for curve in curves]))
    # 150 samples know a standard deviation to 6 %; the null's own error adds to both.
    assert errors == pytest.approx(spread, rel=0.25)


def test_the_interpolated_null_is_the_measured_one():
    rng = np.random.default_rng(10)
    documents = rng.choice(500, size=(50, 1000), p=zipf(500))
    shared = two_point_mutual_information(
        documents, [1, 50, 100, 190], PairEstimation(shuffles=30)
    )  # 810 / 999: one pair of anchors
    alone = two_point_mutual_information(documents, [100], PairEstimation(shuffles=30))
    spread = np.hypot(shared.null_spread[2], alone.null_spread[0])
    # 0.7 percent for the interpolation, 4 errors of the means of 30
    assert abs(shared.null[2] - alone.null[0]) < 0.007 * alone.null[0] + 4 * spread / np.sqrt(30)


# Errors


def test_two_groups_are_the_fewest_and_tell_an_error():
    documents = np.random.default_rng(17).integers(0, 4, size=(6, 200))
    curve = two_point_mutual_information(documents, [1], PairEstimation(groups=2))
    assert curve.groups == 2
    assert np.isfinite(curve.standard_error).all()


def test_groups_are_balanced_and_keep_clusters_together():
    rng = np.random.default_rng(11)
    lengths = rng.integers(100, 2000, size=500)
    clusters = rng.integers(0, 90, size=500)
    group = jackknife_groups(lengths, 8, clusters=clusters)
    assert all(len(set(group[clusters == c])) == 1 for c in set(clusters))
    tokens = np.bincount(group, weights=lengths)
    assert tokens.max() - tokens.min() < lengths[clusters == np.bincount(clusters).argmax()].sum()
    assert jackknife_groups([5, 5, 5], 8).max() == 2


def test_the_jackknife_of_a_mean_is_its_textbook_error():
    values = np.random.default_rng(12).normal(size=40)
    replicates = [np.delete(values, i).mean() for i in range(40)]
    assert jackknife_error(replicates) == pytest.approx(values.std(ddof=1) / np.sqrt(40))


def test_intervals_cover_the_exact_value():
    rng = np.random.default_rng(13)
    distances = [1, 4, 16]
    exact = stepping_information(20, 0.6, distances)
    inside, errors, values = [], [], []
    for seed in range(60):
        # documents of very different lengths, as books are
        lengths = rng.integers(50, 2000, size=40)
        documents = [stepping_chain(rng, 1, n, 20, 0.6)[0] for n in lengths]
        curve = two_point_mutual_information(documents, distances, PairEstimation(shuffles=2, seed=seed))
        inside.append((curve.interval[:, 0] < exact) & (exact < curve.interval[:, 1]))
        errors.append(curve.standard_error)
        values.append(curve.mi)
    # 180 intervals, at least 60 of them independent: 95 percent, less 4 errors of sqrt(0.05 * 0.95 / 60)
    assert np.mean(inside) > 0.95 - 4 * 0.028
    # where there is dependence the errors are the spread; that of 60 values is known to 9 percent, 4 of those
    np.testing.assert_allclose(np.mean(errors, axis=0)[:2], np.std(values, axis=0)[:2], rtol=0.36)
    # where there is none, Grassberger's (-1)^n makes the jackknife cautious: too large, by less than 1 / sqrt(pairs)
    assert np.std(values, axis=0)[2] < np.mean(errors, axis=0)[2] < 1 / np.sqrt(40_000)


def test_one_document_has_no_error_and_no_floor():
    rng = np.random.default_rng(14)
    curve = two_point_mutual_information([rng.integers(0, 5, size=1000)], [1, 2, 3])
    assert np.isfinite(curve.mi).all()
    assert np.isnan(curve.standard_error).all()
    assert "noise floor is not known" in fit_power_law_above_floor(curve).reason


# Bias


def sticky(documents, length=256):
    """A chain of 64 states that mostly stays: neighbours repeat each other, and pairs are few for 64² cells."""
    process = Markov(states=64, persistence=0.9)
    return process, process.sample(documents, length, np.random.default_rng(21))


@pytest.mark.parametrize("null", ["shuffle", "shift"])
def test_a_bias_that_a_null_leaves_is_part_of_the_error(null):
    process, tokens = sticky(200)
    distances = [1, 4, 16, 64]
    curve = two_point_mutual_information(tokens, distances, PairEstimation(null=null))
    exact = np.array([process.two_point_mi(d) for d in distances])
    off = np.abs(curve.mi - exact)
    assert (off > 5 * curve.scatter).any()  # leaving out documents alone knows nothing of it
    assert curve.biased[off > 5 * curve.scatter].all()
    assert (off < student_t(curve.groups) * curve.standard_error).all()
    np.testing.assert_allclose(
        curve.interval[:, 1] - curve.mi, student_t(curve.groups) * curve.standard_error
    )


def test_the_jackknifes_bias_is_the_bias_where_that_goes_like_one_over_n():
    process, tokens = sticky(200)
    curve = two_point_mutual_information(tokens, [4, 16, 64])
    off = curve.mi - [process.two_point_mi(d) for d in (4, 16, 64)]
    # 0.05 to 0.17 nats; the scatter of the estimate itself, and a tenth for higher orders of 1/N
    assert (np.abs(curve.bias - off) < 3 * curve.scatter + 0.1 * off).all()


def test_no_bias_is_seen_where_pairs_are_many():
    process = Markov(states=4, persistence=0.5)
    curve = two_point_mutual_information(
        process.sample(60, 2000, np.random.default_rng(22)), [1, 2, 4, 8, 16]
    )
    assert not curve.biased.any()
    np.testing.assert_array_equal(curve.standard_error, curve.scatter)


def test_without_a_null_the_bias_is_told_and_not_part_of_the_error():
    _, tokens = sticky(60)
    curve = two_point_mutual_information(tokens, [16, 64], PairEstimation(null="none"))
    assert (curve.bias > 5 * curve.scatter).all()
    np.testing.assert_array_equal(curve.standard_error, curve.scatter)


# Bad input


@pytest.mark.parametrize(
    ("documents", "inputs", "message"),
    [
        ([[1, 2, 3]], {"distances": [3]}, "distances: 3 is too long; the longest document has 3 tokens"),
        ([[1, 2, 3]], {"distances": [0]}, "distances: 0 is not accepted; give an integer from 1"),
        ([[1, 2, 3]], {"distances": [1, 1]}, "repeats a value"),
        ([[1, 2, 3]], {"distances": []}, "distances: there are none"),
        ([], {}, "documents: there are none"),
        ([[]], {"distances": [1]}, "the longest document has 0 tokens"),
        ([[1, -2, 3]], {"distances": [1]}, "token ids: -2 is not accepted"),
        ([[1, 2**30]], {"distances": [1]}, "token ids: 1073741824 is not accepted"),
        ([[0.5, 1.5]], {"distances": [1]}, "token ids: float64 is not accepted"),
        ([[[1, 2]]], {"distances": [1]}, "2 dimensions"),
        ([[1, 2, 3]], {"distances": [1], "clusters": [1, 2]}, "clusters: 2 labels for 1 documents"),
    ],
)
def test_bad_input_is_one_line(documents, inputs, message):
    with pytest.raises(L2MError, match=message) as caught:
        two_point_mutual_information(documents, **inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": "bayes"}, "'bayes' is not known; accepted: grassberger"),
        ({"marginals": "own"}, "marginals: 'own' is not known; accepted: pairs"),
        ({"null": "perm"}, "null: 'perm' is not known; accepted: shuffle, shift, none"),
        ({"shuffles": 1}, "shuffles: 1 is not accepted; give an integer from 2"),
        ({"groups": 1}, "groups: 1 is not accepted; .* 2 to 1024"),
        ({"groups": 10**6}, "groups: 1000000 is not accepted; .* 2 to 1024"),
        ({"processes": 0}, "processes: 0 is not accepted"),
        ({"memory_gb": 0}, "memory_gb: 0 is not accepted"),
    ],
)
def test_a_setting_that_is_not_accepted_is_one_line(settings, message):
    with pytest.raises(L2MError, match=message) as caught:
        PairEstimation(**settings)
    assert "\n" not in str(caught.value)


def test_too_little_memory_is_one_line_with_the_least_that_works():
    with pytest.raises(L2MError, match=r"memory_gb: 0.01 is too small .* at least 0.168") as caught:
        two_point_mutual_information([[1, 2, 3]], [1], PairEstimation(memory_gb=0.01))
    assert "\n" not in str(caught.value)


def test_the_least_memory_that_is_named_is_enough():
    rng = np.random.default_rng(16)
    documents = [rng.choice(300, size=9000, p=zipf(300))] * 4
    with pytest.raises(L2MError, match="give at least") as caught:
        two_point_mutual_information(documents, [1, 2], PairEstimation(memory_gb=0.001))
    least = float(str(caught.value).rsplit(" ", 1)[1])
    curve = two_point_mutual_information(documents, [1, 2], PairEstimation(memory_gb=least))
    assert (curve.pairs == [4 * 8999, 4 * 8998]).all()


def test_one_array_with_wrong_offsets_or_ids_is_noticed():
    tokens = np.array([1, 2, 3], dtype=np.uint32)
    for offsets in ([0, 2], [0, 5, 3], [1, 3], [0]):
        with pytest.raises(L2MError, match="offsets: not ascending from 0 to 3"):
            TokenSequences(tokens, np.array(offsets))
    with pytest.raises(L2MError, match="tokens: int64"):
        TokenSequences(tokens.astype(np.int64), np.array([0, 3]))
    with pytest.raises(L2MError, match="token ids: 4294967295 is not accepted"):
        two_point_mutual_information(TokenSequences(tokens - np.uint32(2), np.array([0, 3])), [1])


def test_damaged_files_are_noticed(tmp_path):
    with pytest.raises(L2MError, match=r"lacks tokens\.u32 or offsets\.npy"):
        TokenSequences.open(tmp_path)
    write_token_sequences([[1, 2, 3]], tmp_path)
    with open(tmp_path / "tokens.u32", "ab") as file:
        file.write(b"1234")
    with pytest.raises(L2MError, match="holds 4 tokens, its offsets 3"):
        TokenSequences.open(tmp_path)
