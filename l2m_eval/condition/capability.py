"""MI-capability: does the mutual information that a model expresses keep up with that of the data?

Chen et al. 2025 (arXiv 2503.04725), Definition 5.3, with a stronger model's curve in place of the data's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from l2m_eval.condition.law import MANY_CLUSTERS, MutualInformationCurve
from l2m_eval.condition.verdict import INCONCLUSIVE, SATISFIED, VIOLATED, Verdict, status_of
from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import NORMAL_95
from l2m_eval.statistics.intervals import resampled_error, resampled_interval


def check_mi_capability(
    curve: MutualInformationCurve, reference: MutualInformationCurve, *, tolerance: float = 0.05
) -> Verdict:
    """Does the mutual information that a model expresses keep up with a reference's as lengths grow?

    The trend is the slope of log(I / I_reference) against log L, weighted by the errors of the ratios. A model that
    keeps up has slope zero, which no interval can prove: it is satisfied when the 95 % interval lies above
    −`tolerance`, violated when it lies below, inconclusive when it contains it.

    Points of one curve rest on the same documents. With `replicates` of both curves the errors come from them and
    are right about that; without, points and curves are treated as independent.

    Args:
        curve: The model's.
        reference: A stronger model's, on the same corpus and settings. Where its lengths differ (bytes under another
            tokenizer) it is interpolated in log I against log L.
        tolerance: Difference of exponents that still counts as keeping up.

    Raises:
        L2MError: corpora, units or settings differ (the setting is named), fewer than two common lengths, or values
            that are not positive there.
    """
    if not (tolerance >= 0 and math.isfinite(tolerance)):
        raise L2MError(f"tolerance: {tolerance!r}; give a finite number from 0, for example 0.05")
    _require_comparable(curve, reference)
    lengths = np.asarray(curve.lengths, float)
    inside = (lengths >= reference.lengths[0]) & (lengths <= reference.lengths[-1])
    if inside.sum() < 2:
        raise L2MError(
            f"lengths: the curves share {int(inside.sum())} length(s); measure both at two or more common lengths"
        )
    lengths, values, errors = lengths[inside], curve.values[inside], curve.errors[inside]
    where = np.interp(np.log(lengths), np.log(reference.lengths), np.arange(len(reference.lengths)))
    ref_values, ref_errors = _interpolated(where, reference.values, reference.errors)
    if not ((values > 0).all() and (ref_values > 0).all()):
        bad = lengths[(values <= 0) | ~(ref_values > 0)][0]
        raise L2MError(
            f"values: the mutual information at L = {bad:g} is not positive in one of the curves, so that no "
            "ratio exists; measure more documents, or leave that length out"
        )
    x = np.log(lengths) - np.log(lengths).mean()
    ratios = values / ref_values
    relative = np.hypot(errors / values, ref_errors / ref_values)
    weights = 1 / relative**2 if (relative > 0).all() else np.ones(len(x))
    trend = _slope(x, np.log(ratios), weights)
    if curve.replicates is not None and reference.replicates is not None:
        sample = _replicate_ratios(curve.replicates[:, inside], reference.replicates, where)  # (R, n)
        slopes = np.array([_slope(x, row, weights) for row in np.log(sample)])
        count = curve.clusters or MANY_CLUSTERS
        ratio_errors = np.array([resampled_error(column, count) for column in sample.T])
        trend_error, interval = resampled_error(slopes, count), resampled_interval(slopes, trend, count)
    else:
        ratio_errors = ratios * relative
        centred = x - np.average(x, weights=weights)
        trend_error = float(np.sqrt(((weights * centred * relative) ** 2).sum()) / (weights @ centred**2))
        interval = (trend - NORMAL_95 * trend_error, trend + NORMAL_95 * trend_error)
    status = status_of((interval[0] + tolerance, interval[1] + tolerance))
    how = {
        SATISFIED: "keeps up with",
        VIOLATED: "falls behind",
        INCONCLUSIVE: "neither clearly keeps up with nor clearly falls behind",
    }[status]
    sentence = (
        f"{status.capitalize()}: the mutual information that {curve.model} expresses {how} that of "
        f"{reference.model} on {curve.corpus}: their ratio goes from {ratios[0]:.2f} ± {ratio_errors[0]:.2f} at "
        f"{lengths[0]:,.0f} {curve.unit} to {ratios[-1]:.2f} ± {ratio_errors[-1]:.2f} at {lengths[-1]:,.0f}, like "
        f"L^({trend:.3f} ± {trend_error:.3f}) (tolerance {tolerance:g})."
    )
    numbers = {
        "unit": curve.unit,
        "lengths": lengths,
        "ratios": ratios,
        "errors": ratio_errors,
        "trend": trend,
        "trend_error": trend_error,
        "trend_interval": interval,
        "tolerance": tolerance,
        "model": curve.model,
        "reference": reference.model,
    }
    return Verdict(status, "mi-capability", sentence, numbers)


def _require_comparable(curve: MutualInformationCurve, reference: MutualInformationCurve) -> None:
    pairs: list[tuple[str, Any, Any]] = [
        ("corpus", curve.corpus, reference.corpus),
        ("unit", curve.unit, reference.unit),
    ]
    for key in sorted({*curve.settings, *reference.settings}):
        if key == "tokenizer" and curve.unit == "bytes":
            continue  # that is what measuring in bytes is for
        pairs.append((key, curve.settings.get(key), reference.settings.get(key)))
    for name, ours, theirs in pairs:
        if ours != theirs:
            hint = "; or compare in bytes" if name == "tokenizer" else ""
            raise L2MError(
                f"{name}: {ours!r} for {curve.model}, {theirs!r} for the reference {reference.model}; measure both "
                f"with the same{hint}"
            )
    if curve.unit not in ("tokens", "bytes"):
        raise L2MError(f"unit: {curve.unit!r}; give tokens or bytes")
    if len(reference.lengths) == 0:
        raise L2MError("lengths: the reference curve is empty; measure both at two or more common lengths")


def _interpolated(where: Array, values: Array, errors: Array) -> tuple[Array, Array]:
    """Log-linear values and errors at fractional positions, as if errors of neighbours were fully correlated."""
    positions = np.arange(len(values))
    lower, upper = np.floor(where).astype(int), np.ceil(where).astype(int)
    share = where - lower
    # Values that are not positive are refused by the caller.
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(values)
        mixed = np.exp(np.where(share == 0, logs[lower], (1 - share) * logs[lower] + share * logs[upper]))
        return mixed, mixed * np.interp(where, positions, errors / values)


def _replicate_ratios(ours: Array, theirs: Array, where: Array) -> Array:
    """Ratio of two resampled curves, row by row: (R, n); rows with a value that is not positive are left out."""
    if len(ours) != len(theirs):
        raise L2MError(
            f"replicates: {len(ours)} resamples against {len(theirs)} of the reference; resample both with one seed"
        )
    usable = (ours > 0).all(axis=1) & (theirs > 0).all(axis=1)
    if usable.sum() < 2:
        raise L2MError("replicates: fewer than two resamples are positive throughout; measure more documents")
    positions = np.arange(theirs.shape[1])
    reference = np.exp([np.interp(where, positions, row) for row in np.log(theirs[usable])])
    return np.asarray(ours[usable] / reference)


def _slope(x: Array, y: Array, weights: Array) -> float:
    centred = x - np.average(x, weights=weights)
    return float((weights * centred) @ y / ((weights * centred) @ centred))
