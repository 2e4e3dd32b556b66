"""The laws and curves of mutual information that a history state is checked against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import NORMAL_95, Interval
from l2m_eval.statistics.intervals import resampled_interval
from l2m_eval.statistics.power_law import PowerLaw

MANY_CLUSTERS = 10**6  # stands for documents so many that their number widens no interval


@dataclass(frozen=True, eq=False)
class ScalingLaw:
    """The law I(L) = amplitude · L^exponent of the data that a state is checked against.

    Has the fields of `l2m_eval.statistics.power_law.PowerLaw` that matter here; see `from_fit`.

    Attributes:
        amplitude: Nats at L = 1, L the *total* length.
        exponent: β.
        of: What was measured, with what: it is named wherever β is used.
        exponent_interval: 95 % interval of β; taken from `replicates` when None, and without both β is exact.
        amplitude_interval: 95 % interval of the amplitude.
        replicates: Amplitude and exponent of each bootstrap resample, shape (R, 2).
        ratio: Total length over the left block's: the state that has to carry the information is that after
            L / ratio tokens.
        error: Standard error of β; that of `replicates`, or of the interval's width, when None.
        clusters: Independent groups of documents behind the replicates; None for many. Few of them widen intervals.
    """

    amplitude: float
    exponent: float
    of: str
    exponent_interval: Interval | None = None
    amplitude_interval: Interval | None = None
    replicates: Array | None = None
    ratio: float = 2.0
    error: float | None = None
    clusters: int | None = None

    @classmethod
    def from_fit(cls, fit: PowerLaw, of: str, ratio: float = 2.0) -> ScalingLaw:
        """The law of a fitted power law, with its resamples."""
        return cls(
            fit.amplitude.value,
            fit.exponent.value,
            of,
            fit.exponent.interval,
            fit.amplitude.interval,
            np.asarray(fit.replicates, float),
            ratio,
            fit.exponent.standard_error,
            fit.clusters,
        )

    @property
    def bounds(self) -> Interval:
        """95 % interval of β; (β, β) where none is known, NaN where there are too few resamples to tell."""
        if self.exponent_interval is not None:
            return float(self.exponent_interval[0]), float(self.exponent_interval[1])
        if self.replicates is not None:
            return self.resampled(finite_rows(self.replicates)[:, 1], self.exponent)
        return self.exponent, self.exponent

    def resampled(self, replicates: Array, estimate: float) -> Interval:
        """95 % interval of a quantity of the law from its value for each resample."""
        return resampled_interval(replicates, estimate, self.clusters or MANY_CLUSTERS)

    @property
    def exponent_error(self) -> float:
        """Standard error of β; 0 where no uncertainty is known."""
        if self.error is not None:
            return self.error
        if self.replicates is not None:
            betas = finite_rows(self.replicates)[:, 1]
            return float(np.std(betas, ddof=1)) if len(betas) > 1 else math.nan
        low, high = self.bounds
        return (high - low) / (2 * NORMAL_95)

    def describe(self) -> str:
        """``L^0.76 (95 % interval 0.71 to 0.81; PG19, ...)``."""
        low, high = self.bounds
        known = self.exponent_interval is not None or self.replicates is not None
        interval = f"95 % interval {low:.2f} to {high:.2f}" if known else "no interval published"
        return f"L^{self.exponent:.2f} ({interval}; {self.of})"


# The paper's section on bipartite mutual information, published without intervals. The figures fit against the total
# length L at ten lengths; the released scripts fit against the split l = L / 2 at nine. Against the split the same
# curve has the same exponent and an amplitude 2^β times as large. Here the laws are as the figures have them.
PUBLISHED: dict[str, ScalingLaw] = {
    "pg19-llama-3.1-405b-direct": ScalingLaw(
        2.27, 0.76, "PG19, Llama 3.1 405B FP8, direct estimator, arXiv 2503.04725"
    ),
    "pg19-llama-3.1-405b-vclub": ScalingLaw(3.26, 0.71, "PG19, Llama 3.1 405B FP8, vCLUB, arXiv 2503.04725"),
}


def published_law(name: str) -> ScalingLaw:
    """A published scaling law by its name in `PUBLISHED`.

    Raises:
        L2MError: no such name.
    """
    if name not in PUBLISHED:
        raise L2MError(f"reference: {name!r} is not a published curve; give one of {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


@dataclass(frozen=True, eq=False)
class MutualInformationCurve:
    """A measured curve of bipartite mutual information.

    Attributes:
        model: Whose probabilities it was measured with.
        corpus: What it was measured on, named so that equal names mean the same documents.
        lengths: Total lengths in `unit`, shape (n,), increasing.
        values, errors: Nats and their standard errors, shape (n,).
        settings: What must agree for two curves to be compared: estimator, correction, split ratio, documents,
            seed, and the tokenizer where lengths are tokens.
        unit: ``"tokens"`` or ``"bytes"``.
        replicates: The curve of each bootstrap resample of documents, shape (R, n); of two curves the r-th rows must
            rest on the same documents.
        clusters: Independent groups of documents behind the replicates; None for many.
    """

    model: str
    corpus: str
    lengths: Array
    values: Array
    errors: Array
    settings: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "tokens"
    replicates: Array | None = None
    clusters: int | None = None


def margin_over(exponent: float, spread: float, law: ScalingLaw) -> tuple[float, Interval]:
    """exponent - β and its 95 % interval, the two half-widths added in quadrature."""
    low, high = law.bounds
    margin = exponent - law.exponent
    down, up = math.hypot(spread, high - law.exponent), math.hypot(spread, law.exponent - low)
    return margin, (margin - down, margin + up)


def require_law(law: ScalingLaw) -> None:
    if not math.isfinite(law.exponent):
        raise L2MError(
            f"beta: {law.exponent!r} for {law.of}; give a law with a finite exponent (was the fit possible?)"
        )
    if not (law.amplitude > 0 and math.isfinite(law.amplitude)):
        raise L2MError(
            f"amplitude: {law.amplitude!r} for {law.of}; give a law with a positive finite amplitude"
        )
    if not law.ratio > 1:
        raise L2MError(
            f"ratio: {law.ratio!r}; give a total length over the left block's above 1, for example 2"
        )
    if law.replicates is not None and (law.replicates.ndim != 2 or law.replicates.shape[1] != 2):
        raise L2MError(
            f"replicates: shape {law.replicates.shape}; give amplitude and exponent per resample, (R, 2)"
        )


def finite_rows(replicates: Array) -> Array:
    return np.asarray(replicates[np.isfinite(replicates).all(axis=1)], float)
