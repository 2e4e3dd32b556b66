"""Definition 5.3: does the mutual information that a model expresses keep up with a reference's?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
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
