"""How verdicts are written: exit codes, schema, strict JSON."""

from __future__ import annotations

import json

import pytest
from toys import curve, law, series, state

from l2m_eval.condition import verdict as verdicts
from l2m_eval.condition.capability import check_mi_capability
from l2m_eval.condition.series import check_series
from l2m_eval.condition.state_check import check_model
from l2m_eval.condition.verdict import EXIT_CODES, Verdict
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
