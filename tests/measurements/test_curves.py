"""Curves are the same whether they were computed or read: what is written is what is read, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tolerances import FLOAT64, of_a_sum, of_an_exponent

from l2m_eval.errors import L2MError
from l2m_eval.measurements.curves import BipartiteCurve, FittedPositionCurve, FittedTwoPointCurve
from l2m_eval.measurements.kl import KLCurve, kl_curve
from l2m_eval.measurements.saved_part import SavedPart
from l2m_eval.results.load import load_results

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "results"
WITH_CURVES = [one for one in load_results(EXAMPLES) if one.kind not in ("kl", "state")]

GRID = 0.025 / 20**4  # the last exponents that a weighted fit tries are that far apart


def part(data) -> SavedPart:
    return SavedPart(json.loads(json.dumps(data)), Path("r.json"), "task")


@pytest.mark.parametrize("one", WITH_CURVES, ids=lambda one: f"{one.task} of {one.run.label}")
def test_the_curves_of_a_results_file_are_written_as_they_were_read(one):
    if one.position is not None:
        pairs = [(one.position, one.block["curve"])]
    else:
        pairs = list(zip(one.bipartite or one.two_point, one.block["curves"], strict=True))
    for curve, block in pairs:
        written = json.loads(json.dumps(curve.to_json()))
        assert {key: written[key] for key in block} == block


@pytest.mark.parametrize("one", [r for r in WITH_CURVES if r.bipartite and r.documents], ids=str)
def test_a_curve_computed_from_the_log_is_the_one_that_the_file_holds(one):
    """Equal but for another processor's order of adding, and what the fits make of it.

    A resample whose misfit is that of the curve, or of another shape, to within its rounding of 10⁻⁶ is counted by
    one processor and not by another: of a thousand resamples one, in one curve of a thousand. Two are allowed.
    """
    for computed, block in zip(one.recomputed_curves(), one.block["curves"], strict=True):
        again = json.loads(json.dumps(computed.to_json()))
        for name, allowed in roundings(block, len(one.documents)).items():
            assert (np.abs(np.subtract(again[name], block[name])) <= allowed).all(), name
        for ours, theirs in zip(again["shapes"], block["shapes"], strict=True):
            assert ours["shape"] == theirs["shape"]
            for name in ("p_value", "best_share"):
                assert ours[name] == pytest.approx(theirs[name], abs=2 / 1000)


def roundings(block, documents: int) -> dict[str, np.ndarray]:
    """How far each number of a curve may move when its documents' terms are added in another order."""
    lengths, mi, error = (np.array(block[name]) for name in ("lengths", "mi", "standard_error"))
    # No term is further from the mean than the root of n of their standard deviation, n of the mean's error.
    added = of_a_sum(documents, 1.0) * (np.abs(mi) + documents * error)
    # A resample has points near zero, whose logarithms move more; not one in a thousand is within 10⁻³ of an error.
    exponent = GRID + of_an_exponent(lengths, np.minimum(np.abs(mi), 1e-3 * error), float(added.max()))
    # The amplitude is where the law is at length one, so the logarithm of the longest length away. The ends of an
    # interval are a resample, or the estimate and not more than four deviations of all of them.
    logarithm = exponent * np.log(lengths[-1])
    return {
        "mi": added,
        "standard_error": added,
        "beta": exponent,
        "beta_interval": 5 * exponent,
        "amplitude_interval": 5 * logarithm * np.array(block["amplitude_interval"]),
        "amplitude_error": 5 * logarithm * block["amplitude"],
    }


def test_the_shapes_of_a_file_have_the_residuals_of_the_fit_that_made_them():
    """Residuals are not written; they follow from the parameters, and their squares add up to the misfit written."""
    for one in WITH_CURVES:
        for curve in one.bipartite:
            for fit in curve.shapes:
                # A power, a product, a sum, a difference and a quotient, of numbers no larger than these.
                largest = (np.abs(curve.mi) + abs(fit.parameters[0])) / curve.standard_error
                moved = 2 * np.linalg.norm(fit.residuals) * np.linalg.norm(5 * FLOAT64 * largest)
                assert fit.residuals @ fit.residuals == pytest.approx(fit.misfit, abs=moved)


def test_a_divergence_is_read_as_it_was_written():
    curve = kl_curve(np.abs(np.random.default_rng(0).normal(size=(5, 32))))
    again = KLCurve.from_json(part(curve.to_json()))
    assert again.to_json() == curve.to_json()
    assert again.bins == curve.bins


@pytest.mark.parametrize("lengths", [[4, None], [4, 1e300], ["eight"]])
def test_lengths_that_are_no_numbers_are_refused(lengths):
    with pytest.raises(L2MError, match="has lengths that are not whole numbers"):
        BipartiteCurve.from_json(part({"name": "direct", "lengths": lengths}))


@pytest.mark.parametrize("kind", [BipartiteCurve, FittedTwoPointCurve, FittedPositionCurve, KLCurve])
def test_a_curve_without_its_numbers_is_refused_by_the_name_of_what_is_missing(kind):
    with pytest.raises(L2MError, match=r"task in 'r.json' has no \w+; measure again"):
        kind.from_json(part({}))
