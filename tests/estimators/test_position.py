"""Loss against position: planted curves, invariances, and agreement of per-token and per-bin input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2m_eval.errors import L2MError
from l2m_eval.estimators.position import (
    fit_approach,
    per_position_nll,
    per_position_nll_from_sums,
    position_bins,
    sum_in_bins,
)


def losses(rng, documents, positions, h=2.0, b=3.0, beta=0.6, per_document=0.0, per_token=0.0):
    """Log-probabilities whose mean follows the planted curve, with noise of documents and of tokens."""
    t = np.arange(1, positions + 1)
    nll = h + b * t ** (beta - 1) + per_document * rng.normal(size=(documents, 1))
    if per_token:  # relative to the loss, so that none is below zero
        nll = nll * rng.gamma(per_token**-2, per_token**2, size=(documents, positions))
    return -nll


# Bins


def test_bins_double_and_carry_names_that_sort():
    names = [b.name for b in position_bins(8192)]
    assert names[:4] == ["0001", "0002-0003", "0004-0007", "0008-0015"]
    assert names[-1] == "4096-8192"  # position 8192 is not a bin of its own
    assert names == sorted(names)
    assert [b.name for b in position_bins(15)] == ["0001", "0002-0003", "0004-0007", "0008-0015"]
    assert [b.name for b in position_bins(1)] == ["0001"]


@given(st.integers(1, 10_000))
def test_bins_cover_every_position_once(longest):
    bins = position_bins(longest)
    assert [p for b in bins for p in range(b.first, b.last + 1)] == list(range(1, longest + 1))
    # all but the first two hold as many positions as came before them, give or take the last
    assert all(2 * (b.last - b.first + 1) >= b.first for b in bins)


# The curve


def test_bins_hold_the_mean_of_their_tokens():
    values = -np.random.default_rng(0).exponential(size=(7, 40))
    curve = per_position_nll(values)
    for b, nll, tokens in zip(curve.bins, curve.nll, curve.tokens, strict=True):
        assert nll == pytest.approx(-values[:, b.first - 1 : b.last].mean())
        assert tokens == 7 * (b.last - b.first + 1)
    assert curve.overall.value == pytest.approx(-values.mean())
    assert curve.documents == curve.clusters == 7


def test_the_error_of_equally_long_documents_is_that_of_their_means():
    values = -np.random.default_rng(1).exponential(size=(12, 16))
    curve = per_position_nll(values)
    means = values[:, 3:7].mean(axis=1)  # positions 4-7
    assert curve.standard_error[2] == pytest.approx(means.std(ddof=1) / np.sqrt(12))


def test_per_token_and_per_bin_input_agree():
    rng = np.random.default_rng(2)
    values = -rng.exponential(size=(9, 33))
    values[3, 20:] = np.nan  # a document that ends early
    sizes = rng.integers(1, 6, size=(9, 33)).astype(float)
    clusters = np.arange(9) // 2
    bins = position_bins(33)
    sums, tokens = sum_in_bins(values, bins)
    byte_counts, _ = sum_in_bins(np.where(np.isnan(values), np.nan, sizes), bins)
    one = per_position_nll(values, token_bytes=sizes, clusters=clusters)
    other = per_position_nll_from_sums(sums, tokens, bins, byte_counts=byte_counts, clusters=clusters)
    for name in ("nll", "standard_error", "tokens", "bits_per_byte", "bits_per_byte_error", "byte_position"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.overall, one.context_gain) == (other.overall, other.context_gain)


def test_the_order_of_documents_does_not_matter():
    rng = np.random.default_rng(3)
    values, sizes, clusters = (
        -rng.exponential(size=(20, 64)),
        rng.integers(1, 9, (20, 64)),
        np.arange(20) // 3,
    )
    order = rng.permutation(20)
    one = per_position_nll(values, token_bytes=sizes, clusters=clusters)
    other = per_position_nll(values[order], token_bytes=sizes[order], clusters=clusters[order])
    for name in ("nll", "standard_error", "bits_per_byte", "bits_per_byte_error", "byte_position"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=1e-12
        )  # another order of sums
    assert one.context_gain.standard_error == pytest.approx(other.context_gain.standard_error, rel=1e-12)


def test_repeating_a_document_within_its_cluster_adds_no_certainty():
    rng = np.random.default_rng(4)
    values = losses(rng, 10, 64, per_document=0.3, per_token=0.1)
    twice = np.repeat(values, 2, axis=0)
    honest = per_position_nll(twice, clusters=np.repeat(np.arange(10), 2))
    np.testing.assert_allclose(honest.nll, per_position_nll(values).nll)
    np.testing.assert_allclose(honest.standard_error, per_position_nll(values).standard_error)
    assert (per_position_nll(twice).standard_error < honest.standard_error).all()
    assert (honest.documents, honest.clusters) == (20, 10)


def test_the_error_is_the_spread_over_repetitions():
    rng = np.random.default_rng(5)
    curves = [per_position_nll(losses(rng, 30, 32, per_document=0.3, per_token=0.5)) for _ in range(300)]
    spread = np.std([c.nll for c in curves], axis=0)
    # the spread of 300 repetitions is known to 4 percent; 4 of those
    np.testing.assert_allclose(np.mean([c.standard_error for c in curves], axis=0), spread, rtol=0.16)
    gains = [c.context_gain for c in curves]
    assert np.mean([g.standard_error for g in gains]) == pytest.approx(
        np.std([g.value for g in gains]), rel=0.16
    )


def test_context_gain_does_not_see_how_hard_documents_are():
    rng = np.random.default_rng(6)
    curve = per_position_nll(losses(rng, 40, 128, per_document=0.4))
    t = np.arange(1, 129)
    nll = 2 + 3 * t**-0.4
    # 7 bins, the last is 64-128: the first half is 1, 2-3 and 4-7
    assert curve.bins[-1].name == "0064-0128"
    assert curve.context_gain.value == pytest.approx(nll[:7].mean() - nll[63:].mean())
    assert curve.context_gain.standard_error == pytest.approx(0, abs=1e-12)  # rounding
    assert curve.overall.standard_error > 0.03


def test_bits_per_byte_of_a_uniform_model_over_bytes():
    # each token is one of 256^k strings of k bytes: 8 bits for every byte, wherever tokens are cut
    sizes = np.random.default_rng(7).integers(1, 5, size=(6, 50))
    curve = per_position_nll(-sizes * np.log(256), token_bytes=sizes)
    np.testing.assert_allclose(curve.bits_per_byte, 8)
    np.testing.assert_allclose(curve.bits_per_byte_error, 0, atol=1e-12)
    assert curve.overall_bits_per_byte.value == pytest.approx(8)


def test_the_byte_position_is_the_middle_of_the_bin():
    curve = per_position_nll(np.full((3, 15), -1.0), token_bytes=np.full((3, 15), 4))
    np.testing.assert_allclose(curve.byte_position, [2, 4 + 4, 12 + 8, 28 + 16])  # 4 bytes a token
    np.testing.assert_allclose(curve.bytes_per_token, 4)


def test_a_bin_without_bytes_has_no_bits_per_byte_and_its_bits_count_in_the_total():
    # The first token of every document is a bare word boundary, one of two: a bit without a byte.
    sizes = np.array([[0, 2, 3]] * 4)
    values = -np.log([[2, 256**2, 256**3]] * 4)
    curve = per_position_nll(values, token_bytes=sizes)
    np.testing.assert_allclose(curve.bits_per_byte, [np.nan, 8])
    np.testing.assert_array_equal(np.isnan(curve.bits_per_byte_error), [True, False])
    np.testing.assert_allclose(curve.nll[0], np.log(2))
    assert curve.overall_bits_per_byte.value == pytest.approx((1 + 16 + 24) / 5)


def test_without_bytes_there_are_no_bits_per_byte():
    curve = per_position_nll(np.full((3, 15), -1.0))
    assert np.isnan(curve.bits_per_byte).all()
    assert np.isnan(curve.byte_position).all()
    assert np.isnan(curve.overall_bits_per_byte.value)


def test_a_bin_that_no_document_reaches_is_nan_and_one_document_has_no_error():
    values = np.full((1, 15), -1.0)
    values[0, 7:] = np.nan
    curve = per_position_nll(values)
    np.testing.assert_array_equal(curve.nll, [1, 1, 1, np.nan])
    assert np.isnan(curve.standard_error).all()


# The fit


@pytest.mark.parametrize(("h", "b", "beta"), [(2.0, 3.0, 0.6), (0.5, 1.0, 0.8), (3.0, 4.0, 0.3)])
def test_a_planted_approach_is_recovered(h, b, beta):
    fit = fit_approach(per_position_nll(losses(np.random.default_rng(8), 5, 4096, h, b, beta)))
    # the parabola through grid points 0.01 apart
    assert (fit.entropy_rate.value, fit.amplitude.value, fit.exponent.value) == pytest.approx(
        (h, b, beta), abs=1e-3
    )
    assert fit.reason == ""


def test_intervals_of_the_fit_cover_the_planted_values():
    rng = np.random.default_rng(9)
    inside = []
    for seed in range(40):
        values = losses(rng, 60, 1024, per_document=0.3, per_token=1.0)
        fit = fit_approach(per_position_nll(values), resamples=200, seed=seed)
        for low_high, truth in ((fit.entropy_rate.interval, 2.0), (fit.exponent.interval, 0.6)):
            inside.append(low_high[0] < truth < low_high[1])
    # 40 independent fits: 95 percent, less 4 errors of sqrt(0.05 * 0.95 / 40)
    assert np.mean(inside) > 0.95 - 4 * 0.034


def test_the_fit_depends_on_its_seed_only_in_the_interval():
    curve = per_position_nll(losses(np.random.default_rng(10), 30, 512, per_document=0.2, per_token=0.5))
    one, again, other = (fit_approach(curve, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one.exponent.value == other.exponent.value
    assert one.exponent.interval != other.exponent.interval


def test_no_fit_says_why():
    short = fit_approach(per_position_nll(np.full((4, 20), -1.0)))
    assert np.isnan(short.exponent.value)
    assert short.reason == "2 bins from position 4 on; three parameters need 4"
    rising = fit_approach(per_position_nll(-np.linspace(1, 2, 512)[None] * np.ones((4, 1))))
    assert np.isnan(rising.exponent.value)
    assert "no least-squares minimum" in rising.reason


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: per_position_nll(np.zeros(4)),
            r"shape \(4,\) is not accepted; give \(documents, positions\)",
        ),
        (lambda: per_position_nll(np.zeros((0, 4))), "give"),
        (lambda: per_position_nll(np.full((2, 4), np.nan)), "no token in them"),
        (lambda: per_position_nll(np.full((2, 4), -np.inf)), "infinite"),
        (lambda: per_position_nll(np.ones((2, 4))), "are <= 0"),
        (lambda: per_position_nll(-np.ones((2, 4)), clusters=[1]), "one label per document, 2"),
        (lambda: per_position_nll(-np.ones((2, 4)), token_bytes=np.ones((2, 3))), "token_bytes: shape"),
        (lambda: per_position_nll_from_sums([[-1.0]], [[1]], position_bins(3)), "sums: shape"),
        (lambda: position_bins(0), "positions: 0 is not accepted"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(L2MError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
