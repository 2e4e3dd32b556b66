"""`marginal: mixture` through the harness: an exact model loses nothing, few documents fall back to paired."""

import json

import numpy as np
import pytest

from l2m_eval.errors import L2MError
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.measurements.bipartite import bipartite_curves
from l2m_eval.settings import BipartiteSettings, read_settings

TASK = "l2m_bipartite_process"
PROCESS = {"process": "markov", "states": 8, "persistence": 0.5}


@pytest.fixture(scope="module")
def measure(evaluate):
    lm = OracleLM("markov", states=8, persistence=0.5)

    def run(**settings):
        return evaluate(lm, TASK, lengths=[4, 16, 64], **PROCESS, **settings)

    return run


@pytest.mark.parametrize("partners", [1, 2])
def test_an_exact_model_keeps_its_curve_and_says_its_shares(measure, partners):
    mixed, paired = (measure(documents=60, partners=partners, marginal=m) for m in ("mixture", "paired"))
    curve, plain = mixed.block["curves"][0], paired.block["curves"][0]
    assert plain["mixture"] is None
    assert len(curve["mixture"]) == 3
    assert all(0 <= share <= 1 for share in curve["mixture"])
    for length in (4, 16, 64):
        # Four standard errors: one false alarm in 16,000 seeds.
        assert abs(mixed.metrics[f"direct_mi_deviation@{length:04d}"]) < 4
        # Groups of partners are the clusters of both points' errors; what mixing changes is less than one.
        name = f"direct_mi@{length:04d}"
        assert abs(mixed.metrics[name] - paired.metrics[name]) < mixed.metrics[f"{name}_stderr"]
    assert mixed.metrics["vclub_mi@0064"] == pytest.approx(paired.metrics["vclub_mi@0064"], abs=1e-9)
    assert mixed.metrics["tokens_scored"] == paired.metrics["tokens_scored"]


def test_the_curve_follows_from_the_samples_log(measure):
    run = measure(documents=12, marginal="mixture", estimators=["direct"])
    records = [json.loads(sample["filtered_resps"][0]) for sample in run.samples]
    settings = read_settings(BipartiteSettings, run.block["settings"])
    (curve,) = bipartite_curves(
        records, [s["doc"] for s in run.samples], settings, run.block["settings"]["seed"]
    )
    assert curve.mi.tolist() == run.block["curves"][0]["mi"]
    assert curve.mixture is not None
    assert curve.mixture.tolist() == run.block["curves"][0]["mixture"]


def test_fewer_than_four_groups_fall_back_to_paired_and_say_so(measure):
    mixed, paired = (measure(documents=6, marginal=m) for m in ("mixture", "paired"))
    for length in (4, 16, 64):
        assert mixed.metrics[f"direct_mi@{length:04d}"] == paired.metrics[f"direct_mi@{length:04d}"]
    assert mixed.block["curves"][0]["mixture"] is None
    assert any(
        "with fewer these values are those of marginal paired" in line for line in mixed.block["warnings"]
    )
    assert np.isfinite(mixed.metrics["direct_beta"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"correction": "ngram"}, "correction: ngram is not accepted with marginal mixture"),
        ({"control_variate": False}, "control_variate: false is not accepted with marginal mixture"),
        ({"documents": 1, "estimators": ["direct"]}, "documents: 1 is too few"),
    ],
)
def test_settings_that_contradict_it_are_one_line(given, says):
    with pytest.raises(L2MError) as error:
        read_settings(BipartiteSettings, {"marginal": "mixture", **given})
    assert says in str(error.value)
