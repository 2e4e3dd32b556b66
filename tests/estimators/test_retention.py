"""What is kept of the information when a model reads the last tokens only: planted curves, and their errors."""

import math

import numpy as np
import pytest
from scipy import stats

from l2m_eval.estimators.retention import RetentionCurve, context_needed, retention_curve, shown_above_zero
from l2m_eval.statistics.clusters import resampled_curves
from l2m_eval.statistics.estimate import Estimate

CONTEXTS = (0, 16, 64, 256, 1024)


def planted(documents, seed, shares=(0.0, 0.4, 0.8, 1.0, 1.0), total=10.0):
    """log q(y | x_k): a document's own difficulty, its own total information, and the same shares for all."""
    rng = np.random.default_rng(seed)
    own = total * rng.gamma(4.0, 0.25, size=(documents, 1))
    noise = rng.normal(scale=0.3, size=(documents, len(shares)))
    return rng.normal(-300, 40, size=(documents, 1)) + own * np.array(shares) + noise


def curve_of(log_probs, clusters=None, seed=0, contexts=CONTEXTS, **options):
    labels = np.arange(len(log_probs)) if clusters is None else clusters
    return retention_curve(
        contexts, log_probs, 256, labels, shares=(0.5, 0.95), rng=np.random.default_rng(seed), **options
    )


def test_the_curve_is_the_mean_of_paired_differences():
    log_probs = planted(30, 0)
    curve = curve_of(log_probs, target_bytes=np.full(30, 1000))
    gained = log_probs - log_probs[:, :1]
    np.testing.assert_allclose(curve.information, gained.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(curve.information_error, gained.std(axis=0, ddof=1) / math.sqrt(30), atol=1e-9)
    np.testing.assert_allclose(curve.kept, gained.mean(axis=0) / gained.mean(axis=0)[-1])
    np.testing.assert_allclose(curve.loss, -log_probs.mean(axis=0) / 256)
    np.testing.assert_allclose(curve.bits_per_byte, curve.information / math.log(2) / 1000)
    assert (curve.kept[0], curve.kept[-1], curve.kept_error[-1]) == (0, 1, 0)
    # What documents differ in cancels in the share: its error is far below that of the information.
    assert curve.kept_error[2] < 0.1 * curve.information_error[2] / curve.information[-1] + 0.02


def test_the_context_needed_is_interpolated_in_its_logarithm():
    # Half is kept a quarter of the way from 0.4 (16 tokens) to 0.8 (64 tokens).
    expected = math.exp(math.log(17) + 0.25 * math.log(65 / 17)) - 1
    assert context_needed(CONTEXTS, [0, 0.4, 0.8, 1, 1], 0.5)[0] == pytest.approx(expected)
    assert context_needed(CONTEXTS, [0, 0.4, 0.8, 1, 1], 0.8)[0] == pytest.approx(64)
    assert context_needed(CONTEXTS, [0, 0.4, 0.8, 1, 1], 0.4)[0] == pytest.approx(16)
    assert 0 < context_needed(CONTEXTS, [0, 0.4, 0.8, 1, 1], 0.1)[0] < 16


def test_a_share_that_is_lost_again_is_not_kept_yet():
    assert context_needed(CONTEXTS, [0, 0.6, 0.4, 0.4, 1], 0.5)[0] > 256


def test_without_information_no_context_is_needed_and_none_is_named():
    assert np.isnan(context_needed(CONTEXTS, [0, 1, 1, 0, -1], 0.5)).all()
    rng = np.random.default_rng(1)
    nothing = curve_of(rng.normal(size=(40, 5)))
    assert all(math.isnan(needed.value) for needed in nothing.needed.values())


def test_the_interval_covers_the_planted_context():
    truth = context_needed(CONTEXTS, [0, 0.4, 0.8, 1, 1], 0.5)[0]
    trials = 100
    inside = 0
    for seed in range(trials):
        low, high = curve_of(planted(30, seed), seed=seed, resamples=300).needed[0.5].interval
        inside += low <= truth <= high
    # 95 % of the trials less three standard deviations of that count.
    assert inside >= 0.95 * trials - 3 * math.sqrt(trials * 0.95 * 0.05)


def test_errors_are_those_of_paired_differences_and_of_ratios_by_linearisation():
    log_probs, size = planted(30, 6), np.random.default_rng(7).integers(500, 1500, 30)
    curve = curve_of(log_probs, target_bytes=size)
    gained = log_probs - log_probs[:, :1]
    mean = gained.mean(axis=0)
    root = math.sqrt(30)
    residual = gained - mean / mean[-1] * gained[:, -1:]
    np.testing.assert_allclose(curve.kept_error, residual.std(axis=0, ddof=1) / root / mean[-1], atol=1e-12)
    np.testing.assert_allclose(curve.loss_error, log_probs.std(axis=0, ddof=1) / root / 256)
    bits = gained / math.log(2)
    rate = bits.sum(axis=0) / size.sum()
    np.testing.assert_allclose(curve.bits_per_byte, rate, atol=1e-12)
    residual = bits - rate * size[:, None]
    np.testing.assert_allclose(
        curve.bits_per_byte_error, residual.std(axis=0, ddof=1) / root / size.mean(), atol=1e-12
    )
    assert (curve.documents, curve.clusters, curve.contexts) == (30, 30, CONTEXTS)
    assert np.isnan([curve_of(log_probs).bits_per_byte, curve_of(log_probs).bits_per_byte_error]).all()


def test_the_context_needed_has_the_error_of_its_resamples_on_a_logarithm():
    """Where a resample of few, noisy documents gains nothing, any context up to the longest may be needed."""
    seen = []
    for total, documents in ((10.0, 30), (0.3, 25)):
        log_probs = planted(documents, 8, total=total)
        curve = curve_of(log_probs, resamples=400)
        gained = log_probs - log_probs[:, :1]
        curves = resampled_curves(gained, np.ones(documents), np.random.default_rng(0), 400)
        for share, needed in curve.needed.items():
            value = context_needed(CONTEXTS, gained.mean(axis=0), share)[0]
            each = context_needed(CONTEXTS, curves, share)
            seen.append(np.isnan(each).any())
            each = np.log1p(np.where(np.isnan(each), CONTEXTS[-1], each))
            on_log = Estimate.resampled(math.log1p(value), each, documents)
            assert needed.value == pytest.approx(value)
            assert needed.standard_error == pytest.approx((1 + value) * on_log.standard_error)
            assert needed.interval == pytest.approx(
                tuple(np.clip(np.expm1(on_log.interval), 0, CONTEXTS[-1]))
            )
    assert set(seen) == {True, False}


def test_information_is_shown_where_its_one_sided_interval_excludes_zero():
    for clusters in (2, 10, 100):
        reach = stats.t.ppf(0.95, clusters - 1)
        assert shown_above_zero(1.01 * reach, 1.0, clusters)
        assert not shown_above_zero(0.99 * reach, 1.0, clusters)
    assert not shown_above_zero(1.0, 0.0, 1)


def test_no_context_is_needed_where_the_longest_is_not_shown_to_gain_though_others_are():
    """0.3 nats from the longest with a standard error of one, ten from the one before it with hardly any."""
    log_probs = planted(30, 9, shares=(0.0, 1.0, 1.0, 1.0, 0.0))
    noise = np.random.default_rng(10).normal(size=30)
    noise = math.sqrt(30) * (noise - noise.mean()) / noise.std(ddof=1)
    log_probs[:, -1] = log_probs[:, 0] + 0.3 + noise
    curve = curve_of(log_probs)
    assert (curve.information[-1], curve.information_error[-1]) == pytest.approx((0.3, 1.0))
    assert all(math.isnan(needed.value) for needed in curve.needed.values())


def test_each_curve_has_its_own_context_and_the_longest_keeps_all():
    """A share that the empty context keeps needs none; one that is reached at the end alone is interpolated there."""
    curves = np.array([[0, 0.4, 0.8, 1, 1], [0, 0, 0, 0, 2.0], [0, 1, 1, 1, 0.0], [0, 1.5, 0.2, 2, 1]])
    together = context_needed(CONTEXTS, curves, 0.5)
    for found, curve in zip(together, curves, strict=True):
        assert found == pytest.approx(context_needed(CONTEXTS, curve, 0.5)[0], nan_ok=True)
    assert together[1] == pytest.approx(math.exp((math.log(257) + math.log(1025)) / 2) - 1)
    assert math.isnan(together[2])
    # From 0.2 at 64 to 2 at 256, though 1.5 was kept before.
    assert together[3] == pytest.approx(math.exp(math.log(65) + math.log(257 / 65) / 6) - 1)
    assert context_needed((4, 16), [3.0, 4.0], 0.5)[0] == 4


def test_intervals_stay_within_what_was_measured():
    curve = curve_of(planted(12, 3))
    for needed in curve.needed.values():
        assert 0 <= needed.interval[0] <= needed.value <= needed.interval[1] <= 1024


def test_copies_in_a_cluster_add_nothing():
    log_probs = planted(20, 4)
    once = curve_of(log_probs)
    twice = curve_of(np.repeat(log_probs, 2, axis=0), np.repeat(np.arange(20), 2))
    np.testing.assert_allclose(twice.kept_error, once.kept_error)
    np.testing.assert_allclose(twice.information_error, once.information_error)
    assert twice.needed[0.95].interval == pytest.approx(once.needed[0.95].interval)


def test_results_hold_all_of_it():
    curve = curve_of(planted(12, 5), target_bytes=np.full(12, 900))
    assert RetentionCurve.from_json(curve.to_json()).to_json() == curve.to_json()
