"""The L²M check: does a history state grow fast enough for the mutual information of the data?

Chen et al. 2025 (arXiv 2503.04725), section 5: a model that captures bipartite mutual information I ~ A·L^β at
every length must have a history state that grows at least like L^β (Theorem 5.4), since what a state can pass on
is bounded by its size (Theorem 5.2). Arrays in, sentences and numbers out; no model is touched here.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from l2m_eval.condition.horizon import Horizon, horizon, state_capacity, utilisation
from l2m_eval.condition.law import MutualInformationCurve, ScalingLaw, margin_over, require_law
from l2m_eval.condition.measured import (
    Calibration,
    MeasuredState,
    calibration,
    measured_numbers,
    measured_sentence,
)
from l2m_eval.condition.verdict import INCONCLUSIVE, SATISFIED, VIOLATED, Verdict, status_of
from l2m_eval.history_state.state import HistoryState, state_growth


def check_model(
    state: HistoryState,
    law: ScalingLaw,
    *,
    vocabulary: int | None = None,
    nats_per_element: float | None = None,
    curve: MutualInformationCurve | None = None,
    measured: MeasuredState | None = None,
) -> Verdict:
    """Does this model's history state grow at least like the mutual information of the data?

    γ, the exponent of the state at the largest lengths (0 for one that saturates), is compared with the 95 %
    interval of β: satisfied at or above it, violated below it, inconclusive inside it.

    Args:
        state: History state of the model.
        law: Mutual information of the data. That of a weaker model understates the data's.
        vocabulary: Number of tokens M, for the bound of Theorem 5.2; that of the state when None, and without
            either the term log M, a dozen nats, is left out.
        nats_per_element: A calibrated constant C for the bound, instead of the precision of the elements.
        curve: Measured points, whose share of the capacity is reported.
        measured: What smaller states of the model keep: the state that it needs is said beside the one it has, and
            what an element carries calibrates the horizon, unless `nats_per_element` is given.

    Raises:
        L2MError: a law or a constant that makes no sense.
    """
    require_law(law)
    growth = state_growth(state)
    gamma = growth.asymptotic_exponent
    margin, interval = margin_over(gamma, 0.0, law)
    status = status_of(interval)
    numbers: dict[str, Any] = {
        "gamma": gamma,
        "beta": law.exponent,
        "beta_interval": law.bounds,
        "beta_of": law.of,
        "margin": margin,
        "margin_error": law.exponent_error,
        "margin_interval": interval,
        "growth": growth.sentence,
        "state_source": state.source,
        "saturation_length": growth.saturation_length,
        "constant_part": growth.constant_part,
        "slope_per_token": growth.slope_per_token,
        "context": state.context,
        "notes": list(state.notes),
    }
    data = f"the mutual information of the data, {law.describe()}"
    how = {
        SATISFIED: f", at least as fast as {data}",
        VIOLATED: f", while {data.replace(', L^', ' grows like L^', 1)}",
        INCONCLUSIVE: f"; it is undecided whether this is fast enough for {data}",
    }[status]
    sentence = (
        f"{status.capitalize()}: the history state of {state.model} {growth.sentence}{how}: "
        f"γ - β = {_number_with_error(margin, law.exponent_error)}."
    )
    if math.isnan(gamma):
        sentence = (
            f"Inconclusive: of the history state of {state.model} {growth.sentence}, so that it cannot be compared "
            f"with the mutual information of the data, {law.describe()}."
        )
    vocabulary = vocabulary if vocabulary is not None else state.vocabulary
    capacity_settings: dict[str, Any] = {"vocabulary": vocabulary, "nats_per_element": nats_per_element}
    calibrated = None
    if measured is not None:
        # x and y are equal blocks there, whatever the ratio of the curve is.
        elements = state.elements_at(np.maximum(np.array(measured.lengths) / 2, 1.0))
        calibrated = calibration(measured, elements) if nats_per_element is None else None
        numbers["measured"] = measured_numbers(measured, calibrated, vocabulary)
        sentence += f" {measured_sentence(numbers['measured'], gamma)}".rstrip()
    numbers["at_context"] = None
    if state.context is not None:
        at_context = capacity_settings
        if calibrated is not None:
            at_context = {"vocabulary": None, "nats_per_element": calibrated.nats_per_element.value}
        numbers["at_context"] = _at_context(state, state.context, law, **at_context)
        sentence += " " + _context_sentence(numbers["at_context"], calibrated)
    reached = horizon(law, state, **capacity_settings, calibration=calibrated)
    numbers["horizon"] = asdict(reached)
    sentence += " " + _horizon_sentence(reached)
    if curve is not None:
        capacity, used, errors = utilisation(curve, state, law.ratio, **capacity_settings)
        numbers["utilisation"] = {
            "lengths": curve.lengths,
            "elements": state.elements_at(np.maximum(curve.lengths / law.ratio, 1.0)),
            "capacity": capacity,
            "values": used,
            "errors": errors,
        }
    return Verdict(status, "single-model", sentence, numbers)


def _at_context(
    state: HistoryState, context: int, law: ScalingLaw, **capacity_settings: Any
) -> dict[str, float]:
    """What the law asks for at the longest text that the model accepts, beside what its state can pass on there."""
    information = law.amplitude * float(context) ** law.exponent
    capacity = float(state_capacity(state, max(context / law.ratio, 1.0), **capacity_settings))
    return {
        "length": context,
        "information": information,
        "capacity": capacity,
        "share": information / capacity,
    }


def _context_sentence(there: dict[str, float], calibrated: Calibration | None) -> str:
    capacity = "the capacity of this state"
    if calibrated is not None:
        capacity += f" at {calibrated.nats_per_element.value:.2g} nats per element"
    return (
        f"At its context of {there['length']:,} tokens the data's law gives {there['information']:.3g} nats, "
        f"{there['share']:.2g} of {capacity}."
    )


def _horizon_sentence(reached: Horizon) -> str:
    where = f"{reached.assumption}, the data's law"
    if reached.length <= 1 and math.isinf(reached.until):
        return f"{where} is above the capacity of this state at every length."
    if math.isinf(reached.length):
        never = "never reaches the capacity of this state"
        if math.isinf(reached.interval[0]):
            return f"{where} {never}."
        return f"{where} {never}, but a resample in {1 / max(1 - reached.never, 1e-9):.0f} does."
    low, high = reached.interval
    between = "" if low == high else f" (95 % interval {_tokens(low)} to {_tokens(high)})"
    again = "" if math.isinf(reached.until) else f"; it is overtaken again at {_tokens(reached.until)}"
    return f"{where} reaches the capacity of this state at {_tokens(reached.length)} tokens{between}{again}."


def _tokens(length: float) -> str:
    if math.isinf(length):
        return "never"
    return f"{length:,.0f}" if length < 1e6 else f"{length:.1e}"


def _number_with_error(value: float, error: float) -> str:
    return f"{value:.2f}" if not error > 0 else f"{value:.2f} ± {error:.2f}"
