"""What is drawn: curves with a label and a look, from loaded results or named by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.measurements.curves import BipartiteCurve
from l2m_eval.report.figures.style import Series, literal, series
from l2m_eval.results.headline import fitted_estimate
from l2m_eval.results.run import Results
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.intervals import resampled_interval

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Shown(Generic[T]):
    """One curve of a figure.

    Attributes:
        label: Who was measured.
        curve: What is drawn.
        number: Which look it has (`l2m_eval.report.figures.style.series`).
        results: Where it comes from, where that is known.
    """

    label: str
    curve: T
    number: int
    results: Results | None = None

    @property
    def look(self) -> Series:
        return series(self.number)

    @property
    def text(self) -> str:
        """The label as matplotlib shows it."""
        return literal(self.label)


def shown_curves(given: Any, pick: Callable[[Results], T | None], what: str) -> list[Shown[T]]:
    """Curves with labels and looks.

    Args:
        given: `Results` or several of them (labelled by model; checks that only repeat curves of others here are
            left out), a mapping from labels to curves, one curve, or
            a list of what this function returns.
        pick: The curve of one `Results`; None where it has none.
        what: Name of the curve, for the error.

    Raises:
        L2MError: nothing to draw.
    """
    if isinstance(given, Results):
        given = [given]
    if isinstance(given, Mapping):
        pairs = [Shown(str(label), curve, number) for number, (label, curve) in enumerate(given.items())]
    elif isinstance(given, Sequence):
        pairs = []
        labels = unique_labels([one for one in given if isinstance(one, Results)])
        given = _without_repetitions(given)
        for one in given:
            if isinstance(one, Shown):
                pairs.append(one)
            elif isinstance(one, Results):
                curve = pick(one)
                if curve is not None:
                    pairs.append(Shown(labels[one], curve, len(pairs), one))
            else:
                pairs.append(Shown(f"curve {len(pairs) + 1}", one, len(pairs)))
    else:
        pairs = [Shown("", given, 0)]
    if not pairs:
        raise L2MError(f"curves: none of the results holds {what}; give results of a task that measures it")
    return pairs


def _without_repetitions(given: Sequence[Any]) -> list[Any]:
    """Leave out checks that took their curves from other results of the same model that are also present."""
    measured = {one.run.label for one in given if isinstance(one, Results) and not one.block.get("results")}
    return [
        one
        for one in given
        if not isinstance(one, Results) or not one.block.get("results") or one.run.label not in measured
    ]


def unique_labels(results: Sequence[Results]) -> dict[Results, str]:
    """A label for each: the model's, with what distinguishes runs if several have the same one."""
    told = {one: one.run.label for one in results}
    runs: dict[str, dict[str, list[Results]]] = {}
    for one in results:
        identity = repr((one.run.backend, one.run.model, sorted(one.run.model_args.items(), key=str)))
        runs.setdefault(told[one], {}).setdefault(identity, []).append(one)
    for label, models in runs.items():
        if len(models) < 2:
            continue
        names = {next(iter(members)).run.model for members in models.values()}
        for number, members in enumerate(models.values(), 1):
            for one in members:
                other = (
                    one.run.model if len(names) == len(models) and one.run.model != label else f"no. {number}"
                )
                told[one] = f"{label} ({other})"
    return told


@lru_cache(maxsize=256)
def fit_replicates(results: Results, name: str) -> Array | None:
    """Amplitude and exponent of each resample of documents, (R, 2), computed anew; None without the records."""
    curves = results.recomputed_curves()
    for curve in curves or ():
        if curve.name == name:
            rows = curve.fit.replicates
            usable: Array = rows[np.isfinite(rows).all(axis=1)]
            return usable if len(usable) > 1 else None
    return None


def fitted(shown: Shown[BipartiteCurve], parameter: str) -> Estimate:
    """``beta`` or ``amplitude`` of a curve, its standard error from the table of metrics where the curve has none."""
    return fitted_estimate(shown.results, shown.curve, parameter)


def fit_band(shown: Shown[BipartiteCurve], at: Array) -> tuple[Array, Array] | None:
    """The 95 % band of a curve's fit at these lengths, (n,) and (n,); None without the documents' records.

    Amplitude and exponent err together, so that a band cannot be had from their two intervals.
    """
    if shown.results is None:
        return None
    replicates = fit_replicates(shown.results, shown.curve.name)
    if replicates is None:
        return None
    fits = replicates[:, :1] * at ** replicates[:, 1:]
    law = shown.curve.amplitude.value * at**shown.curve.beta.value
    ends = [
        resampled_interval(column, float(value), shown.curve.clusters)
        for column, value in zip(fits.T, law, strict=True)
    ]
    low, high = np.array(ends).T
    return low, high
