"""How verdicts are written: exit codes, schema, strict JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from toys import curve, law, series, state

from l2m_eval.condition import verdict as verdicts
from l2m_eval.condition.capability import check_mi_capability
from l2m_eval.condition.series import check_series
from l2m_eval.condition.state_check import check_model
from l2m_eval.condition.verdict import EXIT_CODES, SCHEMA, Verdict, status_of
from l2m_eval.errors import L2MError


def test_exit_codes():
    codes = {status: Verdict(status, "single-model", "").exit_code for status in EXIT_CODES}
    assert codes == {"satisfied": 0, "violated": 1, "inconclusive": 2, "error": 3}
    assert Verdict.of_error(L2MError("corpus: none")).to_json()["exit_code"] == 3


@pytest.mark.parametrize(
    "verdict",
    [
        check_model(state("64*L"), law(), vocabulary=4096, curve=curve()),
        check_series(series(1.0), law()),
        check_mi_capability(curve(), curve("strong")),
        Verdict.of_error(L2MError("corpus: none")),
    ],
    ids=lambda verdict: verdict.check,
)
def test_json_is_strict_and_carries_its_schema(verdict):
    text = json.dumps(verdict.to_json(), allow_nan=False)
    found = json.loads(text)
    assert found["schema"] == "l2m-eval/check/1"
    assert set(found) == {"schema", "check", "status", "exit_code", "sentence", "numbers"}
    documented = verdicts.__doc__ or ""
    assert all(f"``{key}``" in documented for key in found["numbers"])


def test_a_horizon_never_reached_is_null_in_json():
    verdict = check_model(state("64*L"), law(), vocabulary=4096)
    assert verdict.to_json()["numbers"]["horizon"]["length"] is None


def test_a_margin_that_touches_zero_is_at_least_zero_and_not_below_it():
    """Rounding of sums of numbers near one is 1e-16 and decides nothing on either side."""
    for rounding in (-1e-15, 0.0, 1e-15):
        assert status_of((rounding, 0.5)) == "satisfied"
        assert status_of((-0.5, rounding)) == "inconclusive"
        assert status_of((rounding, rounding)) == "satisfied"  # a law without an interval
    assert (status_of((-0.5, -0.01)), status_of((-0.01, 0.5))) == ("violated", "inconclusive")


def test_json_holds_the_numbers_themselves_and_null_where_there_is_none():
    numbers = {
        "beta": np.float64(0.7), "length": np.int64(64), "share": np.float32(0.5), "known": True, "of": "a toy",
        "interval": (0.6, math.inf), "lengths": np.array([2, 4]), "none": math.nan,
        "horizon": {"until": -math.inf, "never": 0.0},
    }  # fmt: skip
    written = json.loads(json.dumps(Verdict("satisfied", "series", "", numbers).to_json(), allow_nan=False))
    assert written["numbers"] == {
        "beta": 0.7, "length": 64, "share": 0.5, "known": True, "of": "a toy", "interval": [0.6, None],
        "lengths": [2, 4], "none": None, "horizon": {"until": None, "never": 0.0},
    }  # fmt: skip
    assert Verdict.from_json(written).to_json() == written


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (None, "schema None"),
        ([], r"schema \[\]"),
        ({"status": "satisfied"}, "schema None"),
        ({"schema": "l2m-eval/check/2", "status": "satisfied"}, "schema 'l2m-eval/check/2'"),
        ({"schema": SCHEMA, "status": "likely"}, "'likely' is not a verdict"),
    ],
)
def test_what_is_no_verdict_of_this_version_is_not_read_as_one(written, named):
    with pytest.raises(L2MError, match=f"here: .*{named}"):
        Verdict.from_json(written, "here")
