"""What a smaller state keeps: planted shares, paired errors, and the growth of what is needed."""

import math

import numpy as np
import pytest

from l2m_eval.estimators.smaller_state import kept_information, needed_state
from l2m_eval.statistics.clusters import resampled_curves
from l2m_eval.statistics.estimate import Estimate

DOCUMENTS = 400
LENGTHS = (64, 256, 1024)


@pytest.fixture(scope="module")
def whole():
    """Information of 10, 20 and 40 nats, of which documents have very different shares."""
    rng = np.random.default_rng(0)
    return np.array([10.0, 20.0, 40.0]) * rng.gamma(4, 1 / 4, (DOCUMENTS, 1))


def needed_of(whole, smaller, **settings):
    lengths = LENGTHS[: whole.shape[1]]
    return needed_state(
        lengths, whole, smaller, [length // 2 for length in lengths], np.arange(len(whole)),
        **{"keep": 0.95, "rng": np.random.default_rng(1)} | settings,
    )  # fmt: skip


def test_a_share_of_every_document_is_that_share_without_error(whole):
    found = kept_information(whole, 0.98 * whole, np.arange(DOCUMENTS))
    assert found.kept == pytest.approx(0.98, abs=1e-12)
    assert (found.kept_error < 1e-12).all()  # though the curve itself is known to 2.5 % only
    assert found.lost == pytest.approx(0.02 * whole.mean(axis=0))


def test_what_is_lost_has_the_error_of_the_paired_difference(whole):
    rng = np.random.default_rng(2)
    noise = rng.normal(0.4, 0.5, whole.shape)
    found = kept_information(whole, whole - noise, np.arange(DOCUMENTS))
    assert found.lost_error == pytest.approx(noise.std(axis=0, ddof=1) / math.sqrt(DOCUMENTS))
    # 4.5 errors of three independent normal means: 1 in 10^5
    assert (np.abs(found.lost - 0.4) < 4.5 * found.lost_error).all()
    # The error of a ratio, by the delta method on the same differences.
    residual = whole - noise - found.kept * whole
    expected = residual.std(axis=0, ddof=1) / math.sqrt(DOCUMENTS) / whole.mean(axis=0)
    assert found.kept_error == pytest.approx(expected, rel=1e-6)


def test_documents_of_one_source_are_one(whole):
    twice, sources = np.repeat(whole, 2, axis=0), np.repeat(np.arange(DOCUMENTS), 2)
    noise = np.random.default_rng(3).normal(size=whole.shape)
    one = kept_information(whole, whole - noise, np.arange(DOCUMENTS))
    other = kept_information(twice, twice - np.repeat(noise, 2, axis=0), sources)
    assert other.lost_error == pytest.approx(one.lost_error)
    assert other.kept_error == pytest.approx(one.kept_error)


def test_what_is_needed_lies_where_the_share_is_kept(whole):
    """log(1 + amount) is what shares are linear in here, so the interpolation is exact."""
    smaller = {amount: whole * math.log1p(amount) / np.log1p([32, 128, 512]) for amount in (8, 16)}
    found = needed_of(whole, smaller)
    for needed, most in zip(found.amounts, (32, 128, 512), strict=True):
        assert needed.value == pytest.approx(math.expm1(0.95 * math.log1p(most)))
        assert needed.interval == pytest.approx((needed.value, needed.value))


def test_an_amount_beyond_the_whole_state_is_the_whole_state(whole):
    """A window of 128 tokens of x with 32 of them drops nothing: it says nothing of what 32 tokens keep."""
    for beyond in (32, 128):
        found = needed_of(whole, {16: 0.5 * whole, beyond: np.full_like(whole, 7.0)})
        # A line in log(1 + amount) from a half at 16 to all at 32.
        expected = math.expm1(np.interp(0.95, [0.5, 1], np.log1p([16, 32])))
        assert found.amounts[0].value == pytest.approx(expected)


MOST = np.array([32, 128, 512])  # tokens of x at the three lengths
SHARES = {
    amount: np.log1p(amount) / np.log1p(MOST) for amount in (8, 16)
}  # on the line: interpolation is exact
NEEDED = np.expm1(0.95 * np.log1p(MOST))


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_the_bits_of_what_is_needed_and_what_each_carries(whole, scale):
    """States of 10 bits a token, and 24 whatever their length: two sizes tell what is left of one of no tokens."""
    whole = scale * whole
    bits = {amount: np.full(3, 24.0 + 10 * amount) for amount in SHARES}
    found = needed_of(
        whole,
        {amount: share * whole for amount, share in SHARES.items()},
        sizes=bits,
        whole_sizes=24 + 10 * MOST,
    )
    sizes = 24 + 10 * NEEDED
    assert [one.value for one in found.sizes] == pytest.approx(sizes)
    assert [one.interval for one in found.sizes] == [pytest.approx((size, size)) for size in sizes]
    slope = np.polyfit(np.log(LENGTHS), np.log(sizes), 1)[0]
    assert (found.size_exponent.value, *found.size_exponent.interval) == pytest.approx((slope,) * 3)
    # The bits are certain: what one carries has the error and the interval of the information, as a factor.
    curves = resampled_curves(whole, np.ones(DOCUMENTS), np.random.default_rng(1), 1000)
    for at, one in enumerate(found.densities):
        mean = whole[:, at].mean()
        on_log = Estimate.resampled(math.log(mean), np.log(curves[:, at]), DOCUMENTS)
        assert one.value == pytest.approx(0.95 * mean / sizes[at])
        assert one.standard_error == pytest.approx(one.value * on_log.standard_error)
        share = 0.95 / sizes[at]
        assert one.interval == pytest.approx(tuple(share * math.exp(end) for end in on_log.interval))


@pytest.mark.parametrize(
    ("bits", "of_nothing"),
    [({16: 26.0}, 0.0), ({16: 26.0, 24: 42.0}, 0.0), ({16: 26.0, 24: 34.0}, 10.0)],
    ids=["one amount", "a line below zero", "a line above"],
)
def test_the_bits_of_an_amount_below_the_smallest_measured(whole, bits, of_nothing):
    """0.99 is kept of 16, so that less is needed; nothing is kept of no tokens."""
    found = needed_of(
        whole, dict.fromkeys(bits, 0.99 * whole),
        sizes={amount: np.full(3, size) for amount, size in bits.items()}, whole_sizes=np.full(3, 100.0),
    )  # fmt: skip
    needed = math.expm1(0.95 / 0.99 * math.log1p(16))
    assert [one.value for one in found.amounts] == pytest.approx([needed] * 3)
    size = of_nothing + (26 - of_nothing) * needed / 16
    assert [one.value for one in found.sizes] == pytest.approx([size] * 3)


def test_where_sizes_are_not_known_amounts_are_all_that_is_said(whole):
    found = needed_of(whole, {amount: share * whole for amount, share in SHARES.items()})
    assert [one.value for one in found.amounts] == pytest.approx(NEEDED)
    assert all(math.isnan(one.value) for one in (*found.sizes, *found.densities, found.size_exponent))
    none = {amount: np.zeros(3) for amount in SHARES}
    empty = needed_of(
        whole,
        {amount: share * whole for amount, share in SHARES.items()},
        sizes=none,
        whole_sizes=np.zeros(3),
    )
    assert all(math.isnan(one.value) for one in (*empty.sizes, *empty.densities, empty.size_exponent))


def test_a_length_without_information_is_left_out_of_the_exponent(whole):
    """Two lengths are enough for one; a needed amount below one token has a logarithm as well."""
    silent = whole.copy()
    silent[:, 1] = np.random.default_rng(7).normal(size=DOCUMENTS)  # nothing that is shown
    silent[:, 1] -= silent[:, 1].mean()
    found = needed_of(silent, {amount: share * silent for amount, share in SHARES.items()})
    assert math.isnan(found.amounts[1].value)
    slope = math.log(NEEDED[2] / NEEDED[0]) / math.log(16)
    assert (found.exponent.value, *found.exponent.interval) == pytest.approx((slope,) * 3)
    alone = needed_of(silent[:, :2], {amount: (share * silent)[:, :2] for amount, share in SHARES.items()})
    assert math.isnan(alone.exponent.value)


def test_the_whole_state_must_be_shown_to_inform_whatever_the_smaller_ones_do(whole):
    noisy = np.random.default_rng(8).normal(0.05, 1, whole.shape)  # one standard error
    found = needed_of(noisy, {8: np.full_like(whole, 0.01), 16: np.full_like(whole, 0.02)})
    assert all(math.isnan(one.value) for one in found.amounts)


def test_two_documents_are_the_fewest_that_name_a_need():
    pair = np.array([[10.0, 20.0, 40.0], [10.1, 20.2, 40.4]])
    found = needed_of(pair, {amount: share * pair for amount, share in SHARES.items()})
    assert [one.value for one in found.amounts] == pytest.approx(NEEDED)


def test_the_exponent_of_a_planted_growth(whole):
    """Windows keep a share that depends on amount / L^0.5: twice as much is needed at four times the length."""
    amounts = 2 ** np.arange(1, 9)
    rng = np.random.default_rng(4)
    scale = np.sqrt(LENGTHS)
    smaller = {int(a): whole * (1 - np.exp(-a / scale)) + rng.normal(0, 0.5, whole.shape) for a in amounts}
    found = needed_of(whole, smaller)
    for needed, unit in zip(found.amounts, scale, strict=True):
        # 1 - exp(-a) reaches 0.95 at 3.00; a line in the logarithm between octaves does at 3.00 to 3.37. Noise of
        # 0.5 / 20 nats of 10 is 0.25 % of the share, 1.7 % of the amount where the share grows by 0.15 an e-fold.
        assert -0.02 < math.log(needed.value / (-math.log(0.05) * unit)) < 0.13 + 0.02
    assert abs(found.exponent.value - 0.5) < (0.13 + 0.04) / math.log(16)
    assert found.exponent.interval[0] <= found.exponent.value <= found.exponent.interval[1]
    assert 0 < found.exponent.standard_error < 0.05


def test_the_same_seed_gives_the_same_resamples(whole):
    noise = np.random.default_rng(5).normal(0, 2, whole.shape)
    one, other = (needed_of(whole, {8: 0.9 * whole + noise, 16: whole - noise}) for _ in range(2))
    assert one.amounts == other.amounts
    assert one.exponent == other.exponent


def test_without_information_nothing_is_needed_and_nothing_named(whole):
    nothing = np.random.default_rng(6).normal(0, 1, whole.shape)
    found = needed_of(nothing - nothing.mean(axis=0), {8: whole, 16: whole})
    assert all(math.isnan(one.value) for one in found.amounts)
    assert math.isnan(found.exponent.value)


def test_one_document_has_no_errors_and_names_no_need(whole):
    found = kept_information(whole[:1], whole[:1] / 2, ["a"])
    assert found.kept == pytest.approx(0.5)
    assert np.isnan(found.kept_error).all()
    assert all(math.isnan(one.value) for one in needed_of(whole[:1], {8: whole[:1], 16: whole[:1]}).amounts)
