"""The condition task checks the curves that it has just measured, with the resamples that they were fitted with."""

from __future__ import annotations

import numpy as np
import pytest

import l2m_eval.measurements.bipartite as measurement
import l2m_eval.results.run as run
from l2m_eval.condition.verdict import Verdict
from l2m_eval.history_state import history_state_size
from l2m_eval.statistics.intervals import resampled_interval
from l2m_eval.tasks import ConditionTask
from l2m_eval.tasks.condition import check_metrics

LENGTHS = [8, 16, 32, 64]


@pytest.fixture
def task():
    return ConditionTask(
        {"task": "l2m_condition_process", "metadata": {
            "corpus": "process", "process": "copy", "documents": 30, "lengths": LENGTHS, "estimators": "direct",
        }}
    )  # fmt: skip


def records(count: int, growth: float = 0.5) -> list[dict]:
    rng = np.random.default_rng(3)
    state = history_state_size({"formula": "16"}, LENGTHS).to_json()
    curve = 2 * np.array(LENGTHS, float) ** growth
    return [
        {
            "cells": [[2, length // 2, length] for length in LENGTHS],
            "conditional": (curve * rng.normal(1, 0.1)).tolist(),
            "marginal": [0.0] * len(LENGTHS),
            "tokens_scored": 10,
        }
        | ({"state": state} if i == 0 else {})
        for i in range(count)
    ]


def test_the_check_uses_the_resamples_of_the_measured_fit_and_draws_no_others(task, monkeypatch):
    fits = []
    fit_with_interval = measurement.power_law_with_interval

    def counted(*args, **kwargs):
        fits.append(fit_with_interval(*args, **kwargs))
        return fits[-1]

    def read_back(*_args, **_kwargs):
        raise AssertionError("the curves were computed again from the documents' records")

    monkeypatch.setattr(measurement, "power_law_with_interval", counted)
    monkeypatch.setattr(run, "bipartite_curves", read_back)
    metrics, block = task.measure(task.docs, records(30))
    assert len(fits) == 1
    # A fixed state of 16 elements falls behind a law of exponent 1/2, by exactly that much.
    assert block["check"]["status"] == "violated"
    assert metrics["l2m_margin"].value == -fits[0].exponent.value
    assert block["check"]["numbers"]["beta_interval"] == list(fits[0].exponent.interval)
    # The horizon's interval is that of its resamples: amplitude and exponent err together.
    numbers = block["check"]["numbers"]
    amplitudes, exponents = fits[0].replicates.T
    crossings = (np.log(numbers["utilisation"]["capacity"][0]) - np.log(amplitudes)) / exponents
    expected = resampled_interval(crossings, np.log(numbers["horizon"]["length"]), 30)
    # The check searches for the crossing by halving; this is the closed form.
    assert np.log(numbers["horizon"]["interval"]) == pytest.approx(expected, rel=1e-9)


def test_the_error_of_a_horizon_is_that_of_a_normal_distribution_with_its_interval():
    """A 95 % interval is 2 · 1.96 errors wide; one that reaches "never" has no error, and no horizon no number."""

    def horizon(numbers):
        return check_metrics(Verdict("violated", "single-model", "", numbers))["l2m_horizon"]

    found = horizon({"horizon": {"length": 1000.0, "interval": [800.0, 1584.0]}})
    assert (found.value, found.standard_error) == (1000.0, pytest.approx(784 / (2 * 1.959964), rel=1e-6))
    for interval in ([800.0, np.inf], [np.inf, np.inf]):
        endless = horizon({"horizon": {"length": 1000.0, "interval": interval}})
        assert endless.value == 1000.0
        assert np.isnan(endless.standard_error)
    assert np.isnan(horizon({}).value)
