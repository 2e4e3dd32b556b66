"""Definition 5.3: does the mutual information that a model expresses keep up with a reference's?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from toys import LENGTHS, curve

from l2m_eval.condition.capability import check_mi_capability
from l2m_eval.condition.law import MutualInformationCurve
from l2m_eval.errors import L2MError


def test_the_same_exponent_keeps_up_and_a_smaller_one_falls_behind():
    assert check_mi_capability(curve(amplitude=1.0), curve("strong")).status == "satisfied"
    behind = check_mi_capability(curve(beta=0.5), curve("strong"))
    assert behind.status == "violated"
    assert behind.numbers["trend"] == pytest.approx(-0.25)
    assert check_mi_capability(curve(relative=2.0), curve("strong", relative=2.0)).status == "inconclusive"


def test_the_errors_of_ratio_and_trend_are_those_of_simulated_curves():
    rng = np.random.default_rng(0)
    ours, theirs = curve(), curve("strong")
    verdict = check_mi_capability(ours, theirs)
    ratios = [
        ours.values * (1 + 0.05 * rng.normal(size=11)) / (theirs.values * (1 + 0.05 * rng.normal(size=11)))
        for _ in range(4000)
    ]
    trends = [np.polyfit(np.log(LENGTHS), np.log(r), 1)[0] for r in ratios]
    # 4000 draws know a standard deviation to about 1 %
    assert verdict.numbers["trend_error"] == pytest.approx(np.std(trends), rel=0.05)
    np.testing.assert_allclose(verdict.numbers["errors"], np.std(ratios, axis=0), rtol=0.06)


def test_errors_shared_by_both_curves_cancel_when_resamples_are_given():
    shared = np.exp(0.3 * np.random.default_rng(1).normal(size=(500, 1))) * np.ones(11)
    ours = curve(replicates=curve().values * shared)
    theirs = curve("strong", replicates=curve().values * shared)
    verdict = check_mi_capability(ours, theirs)
    assert verdict.numbers["trend_error"] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(verdict.numbers["errors"], 0, atol=1e-12)


def test_curves_in_bytes_are_matched_between_tokenizers():
    ours = curve(unit="bytes", settings={"tokenizer": "mine"})
    lengths = LENGTHS * 1.3
    settings = {"estimator": "direct", "documents": 100, "tokenizer": "yours"}
    values = 4.0 * lengths**0.75
    theirs = MutualInformationCurve("strong", "books", lengths, values, 0.1 * values, settings, "bytes")
    verdict = check_mi_capability(ours, theirs)
    np.testing.assert_allclose(verdict.numbers["ratios"], 0.5, rtol=1e-12)  # a power law interpolates exactly
    assert verdict.numbers["lengths"].tolist() == LENGTHS[1:].tolist()
    uneven = replace(theirs, lengths=LENGTHS * 1.01)  # mean bytes of tokens are no whole numbers
    told = check_mi_capability(replace(uneven, model="mine"), uneven).sentence
    assert f"{LENGTHS[-1] * 1.01:,.0f}, like" in told


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"corpus": "news"}, "corpus: 'books'"),
        ({"settings": {"estimator": "vclub"}}, "estimator: 'direct'"),
        ({"settings": {"tokenizer": "u"}}, "tokenizer: 't'"),
        ({"settings": {"seed": 1}}, "seed: None"),
        ({"unit": "bytes"}, "unit: 'tokens'"),
    ],
)
def test_curves_of_different_measurements_are_not_compared(change, named):
    with pytest.raises(L2MError, match=named):
        check_mi_capability(curve(), curve("strong", **change))


def test_ratios_need_positive_values_and_common_lengths():
    with pytest.raises(L2MError, match="not positive"):
        check_mi_capability(curve(), curve("strong", amplitude=-1.0))
    far = MutualInformationCurve("far", "books", LENGTHS * 10**6, LENGTHS, LENGTHS, curve().settings)
    with pytest.raises(L2MError, match=r"share 0 length"):
        check_mi_capability(curve(), far)


def uneven(model, seed, tilt=0.0, scatter=0.1, **changes):
    """A curve that lies on no power law, with errors from 2 % to 20 %."""
    rng = np.random.default_rng(seed)
    values = 2.0 * LENGTHS ** (0.75 + tilt) * np.exp(scatter * rng.normal(size=11))
    return replace(curve(model), values=values, errors=values * rng.uniform(0.02, 0.2, 11), **changes)


def test_the_trend_is_that_of_a_weighted_straight_line_and_its_interval_of_a_normal_error():
    ours, theirs = uneven("model", 1), uneven("strong", 2)
    numbers = check_mi_capability(ours, theirs).numbers
    ratios = ours.values / theirs.values
    relative = np.hypot(ours.errors / ours.values, theirs.errors / theirs.values)
    (slope, _), covariance = np.polyfit(np.log(LENGTHS), np.log(ratios), 1, w=1 / relative, cov="unscaled")
    error = np.sqrt(covariance[0, 0])
    assert (numbers["trend"], numbers["trend_error"]) == pytest.approx((slope, error), rel=1e-9)
    assert numbers["trend_interval"] == pytest.approx((slope - 1.959964 * error, slope + 1.959964 * error))
    np.testing.assert_allclose(numbers["ratios"], ratios)
    np.testing.assert_allclose(numbers["errors"], ratios * relative)


@pytest.mark.parametrize("unknown", [0.0, np.nan])
def test_points_weigh_the_same_where_an_error_is_not_known(unknown):
    ours, theirs = uneven("model", 1), replace(curve("strong"), errors=np.zeros(11))
    ours.errors[4] = unknown
    slope = np.polyfit(np.log(LENGTHS), np.log(ours.values / theirs.values), 1)[0]
    assert check_mi_capability(ours, theirs).numbers["trend"] == pytest.approx(slope, rel=1e-9)
    errors_below_a_percent = replace(ours, errors=np.geomspace(1e-4, 5e-3, 11) * ours.values)
    weighted = np.polyfit(
        np.log(LENGTHS), np.log(ours.values / theirs.values), 1, w=1 / np.geomspace(1e-4, 5e-3, 11)
    )
    found = check_mi_capability(errors_below_a_percent, theirs).numbers["trend"]
    assert found == pytest.approx(weighted[0], rel=1e-9)


@pytest.mark.parametrize(
    ("tilt", "settings", "status"),
    [
        (-0.04, {}, "satisfied"),
        (-0.06, {}, "violated"),
        (-0.06, {"tolerance": 0.1}, "satisfied"),
        (0.06, {}, "satisfied"),
        (0.0, {"tolerance": 0.0}, "inconclusive"),  # zero is inside every interval
        (0.04, {"tolerance": 0.0}, "satisfied"),
        (-0.04, {"tolerance": 0.0}, "violated"),
    ],
)
def test_a_trend_may_fall_by_the_tolerance(tilt, settings, status):
    exact = {"relative": 0.001}  # the error of the trend is 2e-4
    theirs = curve("strong", **exact)
    bent = replace(theirs, values=theirs.values * (1 + 1e-6 * np.cos(LENGTHS)))
    verdict = check_mi_capability(curve(beta=0.75 + tilt, **exact), bent, **settings)
    assert verdict.status == status
    assert verdict.numbers["tolerance"] == settings.get("tolerance", 0.05)


def test_a_trend_whose_interval_holds_the_tolerance_is_inconclusive():
    """-0.04 ± 0.03, all below zero: -0.05 lies inside."""
    verdict = check_mi_capability(curve(beta=0.71, relative=0.075), curve("strong", relative=0.075))
    low, high = verdict.numbers["trend_interval"]
    assert low < -0.05 < high < 0
    assert verdict.status == "inconclusive"


@pytest.mark.parametrize("tolerance", [-0.1, np.nan, np.inf])
def test_a_tolerance_that_is_none_is_refused(tolerance):
    with pytest.raises(L2MError, match="tolerance: "):
        check_mi_capability(curve(), curve("strong"), tolerance=tolerance)


def test_resamples_of_one_curve_alone_are_not_used():
    with_resamples = replace(uneven("model", 1), replicates=np.ones((50, 11)))
    for ours, theirs in (
        (with_resamples, uneven("strong", 2)),
        (uneven("model", 1), replace(uneven("strong", 2), replicates=np.ones((50, 11)))),
    ):
        found, plain = (
            check_mi_capability(*pair).numbers
            for pair in ((ours, theirs), (uneven("model", 1), uneven("strong", 2)))
        )
        assert (found["trend_error"], found["trend_interval"]) == (
            plain["trend_error"],
            plain["trend_interval"],
        )


def test_resamples_give_errors_and_interval_of_the_trend():
    """Both curves in the same resamples: of the ratio at each length, and of the slope of each ratio's logarithm."""
    rng = np.random.default_rng(3)
    ours, theirs = (
        replace(one, replicates=one.values * np.exp(0.1 * rng.normal(size=(400, 11))), clusters=10)
        for one in (uneven("model", 1), uneven("strong", 2))
    )
    numbers = check_mi_capability(ours, theirs).numbers
    sample = ours.replicates / theirs.replicates
    relative = np.hypot(ours.errors / ours.values, theirs.errors / theirs.values)
    slopes = np.polyfit(np.log(LENGTHS), np.log(sample).T, 1, w=1 / relative)[0]
    widened = np.sqrt(10 / 9)  # ten groups: standard deviations, and Student's t about the trend
    np.testing.assert_allclose(numbers["errors"], widened * sample.std(axis=0), rtol=1e-9)
    assert numbers["trend_error"] == pytest.approx(widened * slopes.std(), rel=1e-9)
    reach = stats.t.ppf(0.975, 9) * numbers["trend_error"]
    assert numbers["trend_interval"] == pytest.approx((numbers["trend"] - reach, numbers["trend"] + reach))


def test_the_sentence_has_the_first_and_the_last_ratio_with_their_errors():
    verdict = check_mi_capability(uneven("model", 1), uneven("strong", 2))
    ratios, errors = verdict.numbers["ratios"], verdict.numbers["errors"]
    told = f"goes from {ratios[0]:.2f} ± {errors[0]:.2f} at 2 tokens to {ratios[-1]:.2f} ± {errors[-1]:.2f} at 2,048"
    assert told in verdict.sentence


def test_two_common_lengths_are_enough_and_the_values_there_may_be_small():
    ours, theirs = curve(amplitude=1e-3), replace(curve("strong", amplitude=1e-3), lengths=LENGTHS * 2.0**9)
    verdict = check_mi_capability(ours, theirs)
    assert verdict.numbers["lengths"].tolist() == [1024, 2048]
    with pytest.raises(L2MError, match=r"share 1 length"):
        check_mi_capability(ours, replace(theirs, lengths=LENGTHS * 2.0**10))


@pytest.mark.filterwarnings("error")  # one line, and nothing of numpy's
@pytest.mark.parametrize("value", [0.0, -1.0])
@pytest.mark.parametrize("whose", ["model", "strong"])
def test_the_first_length_without_a_ratio_is_named(whose, value):
    curves = {name: curve(name, amplitude=0.01) for name in ("model", "strong")}
    curves[whose].values[[3, 5]] = value
    with pytest.raises(L2MError, match=r"information at L = 16 is not positive"):
        check_mi_capability(curves["model"], curves["strong"])


def test_curves_that_cannot_be_compared_are_refused_with_what_to_do():
    tokens, others = {"settings": {"tokenizer": "t"}}, {"settings": {"tokenizer": "u"}}
    with pytest.raises(L2MError, match="or compare in bytes"):
        check_mi_capability(curve(**tokens), curve("strong", **others))
    with pytest.raises(L2MError, match=r"measure both with the same$"):
        check_mi_capability(curve(), curve("strong", corpus="news"))
    with pytest.raises(L2MError, match="unit: 'words'"):
        check_mi_capability(curve(unit="words"), curve("strong", unit="words"))
    empty = replace(curve("strong"), lengths=LENGTHS[:0], values=LENGTHS[:0], errors=LENGTHS[:0])
    with pytest.raises(L2MError, match="reference curve is empty"):
        check_mi_capability(curve(), empty)
