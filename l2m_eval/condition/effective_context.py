"""How much of its context does a model use? The length beyond which its information curve shows no growth.

Let H_k be the hypothesis that the curve does not grow beyond the measured length L_k: none of the longer lengths
has a larger value. The hypotheses are tested from the shortest length up, each at 5 %, and the *effective context*
is the first L_k whose hypothesis is not rejected. Let K be the first length for which the hypothesis is true: the
procedure passes K only if it rejects that one true hypothesis, so it overstates the effective context with a
probability of at most 5 %, without a correction for the number of lengths. The effective context is therefore a
lower bound, at 95 % confidence, of the length at which growth ends. If all hypotheses are rejected the curve still
grows at the longest length measured, and that length is the bound (`EffectiveContext.reached`).

*Test of H_k.* `l2m_eval.statistics.growth`; `docs/validation_effective_context.md` has the error rates for 20, 50
and 200 documents.

*Upper bound.* That growth is not shown does not show that there is none. Two numbers say what is left: `remaining`,
the largest growth beyond the effective context that the documents leave room for (one-sided, 95 %), and `upper`,
from the curve A·min(L, K)^β fitted to resampled clusters: the 95 % quantile of K, rounded up to a measured length.
The second holds if the curve is a power law up to where it ends, the first always.

Source: nested hypotheses need no correction: R. Marcus, E. Peritz and K. R. Gabriel, *On closed testing procedures*,
Biometrika 63 (1976).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import as_float, finite_or_none
from l2m_eval.statistics.growth import (
    LEVEL,
    Draws,
    Gain,
    Growth,
    contrasts,
    gain_of_step,
    growth_beyond,
    most_growth,
    resampled_draws,
)

# Of the resamples of three clusters one in nine is one of them three times over, and counts as infinitely far: growth
# could never be shown at 5 %. Of four it is one in 64.
FEWEST_CLUSTERS = 4
# Of a length that other documents lack. The clearest growth is judged by the end of fewest clusters of all, whose
# chance deviations are the largest: with four of fifty, what the others show is lost.
FEWEST_AT_A_LENGTH = 8
_CHANGE_EXPONENTS = np.linspace(0.05, 1.5, 30)
_CHANGES_PER_DOUBLING = 4


@dataclass(frozen=True)
class EffectiveContext:
    """How far a curve grows.

    Attributes:
        value: The first measured length beyond which growth is not shown, in tokens; a lower bound of the length at
            which growth ends (95 %). The longest length where `reached`; NaN where it is not known (see `reason`).
        reached: Whether growth is shown up to the longest length measured: then `value` is no end of the growth.
        upper: Upper bound (95 %) of the length at which growth ends if the curve is a power law up to there, a
            measured length; infinite where the documents do not bound it.
        remaining: Upper bound (95 %) of what the curve gains beyond `value`, nats; NaN where `reached`.
        falls_beyond: The length beyond which information falls; None where no fall is shown.
        longest: The longest length measured.
        growth: The tests, one for each length but the longest.
        gains: The steps between neighbouring lengths.
        clusters: Independent groups of documents behind the errors.
        reason: Why there is no value; empty where there is one.
    """

    value: float
    reached: bool
    upper: float
    remaining: float
    falls_beyond: int | None
    longest: int
    growth: tuple[Growth, ...]
    gains: tuple[Gain, ...]
    clusters: int
    reason: str = ""

    @property
    def grows(self) -> bool:
        """Whether growth is shown between any two lengths."""
        return self.reached or (bool(self.growth) and self.value > self.growth[0].length)

    def sentence(self, unit: str = "tokens") -> str:
        """What was found, as a clause that follows the model's name."""
        if self.reason:
            return f"has no effective context: {self.reason}"
        if self.reached:
            return f"uses at least {self.longest:,} of the {self.longest:,} {unit} measured"
        left = f"at most {self.remaining:.2g} nats more beyond" if math.isfinite(self.remaining) else ""
        bounded = self.grows and math.isfinite(self.upper)
        ends = f"growth ends by {self.upper:,.0f} if the curve is a power law up to there" if bounded else ""
        room = f" ({', '.join(part for part in (left, ends) if part)})" if left or ends else ""
        falls = f"; information falls beyond {self.falls_beyond:,}" if self.falls_beyond is not None else ""
        if not self.grows:
            return (
                f"shows no growth of information beyond {self.value:,.0f} {unit}, the shortest length of the "
                f"{self.longest:,} measured{room}{falls}"
            )
        return f"uses at least {self.value:,.0f} of the {self.longest:,} {unit} measured{room}{falls}"

    def to_json(self) -> dict[str, Any]:
        """The form stored in results; null for unknown or infinite values."""
        return {
            "value": finite_or_none(self.value),
            "reached": self.reached,
            "upper": finite_or_none(self.upper),
            "upper_holds_if": "power law up to its end",
            "remaining": finite_or_none(self.remaining),
            "falls_beyond": self.falls_beyond,
            "longest": self.longest,
            "level": LEVEL,
            "clusters": self.clusters,
            "reason": self.reason,
            "growth": [
                {name: finite_or_none(getattr(one, name)) for name in Growth.__dataclass_fields__}
                for one in self.growth
            ],
            "gains": [
                {name: finite_or_none(getattr(one, name)) for name in Gain.__dataclass_fields__}
                for one in self.gains
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EffectiveContext:
        """The inverse of `to_json`."""
        known = data["value"] is not None
        return cls(
            value=as_float(data["value"]),
            reached=bool(data["reached"]),
            upper=math.inf if known and data["upper"] is None else as_float(data["upper"]),
            remaining=as_float(data["remaining"]),
            falls_beyond=None if data["falls_beyond"] is None else int(data["falls_beyond"]),
            longest=int(data["longest"]),
            growth=tuple(
                Growth(
                    int(one["length"]),
                    int(one["until"]),
                    *(as_float(one[n]) for n in ("value", "standard_error", "p_value")),
                )
                for one in data["growth"]
            ),
            gains=tuple(
                Gain(
                    int(one["start"]),
                    int(one["end"]),
                    *(as_float(one[n]) for n in list(Gain.__dataclass_fields__)[2:]),
                )
                for one in data["gains"]
            ),
            clusters=int(data["clusters"]),
            reason=str(data["reason"]),
        )


def claimed_and_used(model: str, found: EffectiveContext, claimed: int | None = None) -> str:
    """One sentence: the context that the model claims, if known, and what it is shown to use."""
    claims = f" claims {claimed:,} tokens and" if claimed is not None else ""
    return f"{model}{claims} {found.sentence()}."


def effective_context(
    lengths: Sequence[int], terms: ArrayLike, clusters: ArrayLike, *, rng: np.random.Generator
) -> EffectiveContext:
    """The effective context of the mean curve of per-document terms.

    Args:
        lengths: Measured lengths in increasing order, (points,), tokens.
        terms: Per-document values, (documents, points), nats; NaN where a document was not measured at a length.
            Two lengths are compared on the documents that have both; a length that fewer than
            `FEWEST_AT_A_LENGTH` clusters have is left out where others have more.
        clusters: Label of each document; documents of one cluster are not independent.
        rng: Source of the resamples.

    Returns:
        With `reason` instead of a value where there are fewer than two lengths or than four clusters.
    """
    values = np.asarray(terms, float)
    _, labels = np.unique(np.asarray(clusters), return_inverse=True)
    count = int(labels.max()) + 1
    held = _points_of_clusters(values, labels)
    tested = held.sum(axis=0) >= min(FEWEST_AT_A_LENGTH, int(held.sum(axis=0).max()))
    values, held, steps = values[:, tested], held[:, tested], np.asarray(lengths)[tested]
    gains = tuple(gain_of_step(steps, values, labels, k) for k in range(len(steps) - 1))
    reason = ""
    if len(steps) < 2:
        reason = "only one length is measured; growth needs two or more"
    elif count < FEWEST_CLUSTERS:
        reason = f"the documents are {count} independent group(s); a test of growth needs {FEWEST_CLUSTERS} or more"
    if reason:
        return EffectiveContext(
            math.nan, False, math.nan, math.nan, None, int(steps[-1]), (), gains, count, reason
        )

    draws = resampled_draws(count, rng, ["".join(map(str, row)) for row in held.astype(int)])
    growth = tuple(growth_beyond(steps, values, labels, k, rng, draws) for k in range(len(steps) - 1))
    at = next((k for k, test in enumerate(growth) if not test.p_value <= LEVEL), len(steps) - 1)
    reached = at == len(steps) - 1
    remaining, falls = math.nan, None
    if not reached:
        remaining = most_growth(values, labels, at, draws)
        # Where growth stopped being shown a chance fall is a little likelier than elsewhere; half the level makes up.
        if growth_beyond(steps, -values, labels, at, rng, draws).p_value <= LEVEL / 2:
            falls = int(steps[at + int(np.nanmean(values[:, at:], axis=0).argmax())])
    return EffectiveContext(
        value=float(steps[at]),
        reached=reached,
        upper=math.inf if reached else _change_point_bound(steps, values, labels, at, draws),
        remaining=remaining,
        falls_beyond=falls,
        longest=int(steps[-1]),
        growth=growth,
        gains=gains,
        clusters=count,
    )


def _points_of_clusters(values: Array, labels: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether a document of the cluster has the point, (clusters, points)."""
    held = np.zeros((int(labels.max()) + 1, values.shape[1]), bool)
    np.logical_or.at(held, labels, ~np.isnan(values))
    return held


# --- the upper bound --------------------------------------------------------------------------------------------


def _change_point_bound(
    lengths: NDArray[Any], values: Array, labels: NDArray[np.intp], at: int, draws: Draws
) -> float:
    """The 95 % quantile of K in A·min(L, K)^β over resampled clusters, rounded up to a measured length.

    Infinite where that many resamples fit best with an end at the longest length, which is no end; never below the
    point `at`, which the tests have shown to be used.
    """
    positive = lengths > 0
    found = contrasts(values[:, positive], labels)
    x = lengths[positive].astype(float)
    if len(x) < 4:  # three parameters
        return math.inf
    basis, ends = _changing_power_laws(x)
    ends_at = []
    weights = 1 / np.maximum(found.error, 1e-12 + found.error.max() * 1e-6) ** 2
    norms = (basis**2) @ weights
    for drawn in draws():
        with np.errstate(invalid="ignore", divide="ignore"):
            curves = (drawn @ found.sums) / (drawn @ found.sizes)  # (R, points)
        curves = curves[np.isfinite(curves).all(axis=1)]
        explained = np.maximum((curves * weights) @ basis.T, 0.0) ** 2 / norms
        ends_at.append(ends[explained.argmax(axis=1)])
    quantile = float(np.quantile(np.concatenate(ends_at), 1 - LEVEL, method="inverted_cdf"))
    longer = x[x >= quantile * (1 - 1e-9)]
    if quantile >= x[-1] * (1 - 1e-9) or not len(longer):
        return math.inf
    return float(max(longer[0], lengths[at]))


def _changing_power_laws(x: Array) -> tuple[Array, Array]:
    """Curves min(L, K)^β on a grid, (candidates, points), and the K of each, (candidates,)."""
    points = max(2, round(_CHANGES_PER_DOUBLING * math.log2(x[-1] / x[0])) + 1)
    ends = np.geomspace(x[0], x[-1], points)
    scale = math.sqrt(x[0] * x[-1])
    basis = (np.minimum(x, ends[:, None, None]) / scale) ** _CHANGE_EXPONENTS[:, None]  # (K, β, points)
    return basis.reshape(-1, len(x)), np.repeat(ends, len(_CHANGE_EXPONENTS))


def check_clusters(clusters: int) -> None:
    """Refuse documents of fewer than four independent groups, where an effective context is what was asked for."""
    if clusters < FEWEST_CLUSTERS:
        raise L2MError(
            f"documents: {clusters} independent group(s) of documents are too few for an effective context; give "
            f"{FEWEST_CLUSTERS} or more"
        )
