"""The L²M check of a series of models, each meant for a length of its own.

Chen et al. 2025 (arXiv 2503.04725), Theorem 5.6: models whose states grow with the length they are meant for can
capture the mutual information of the data where the states grow at least like L^β.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from l2m_eval.condition.law import ScalingLaw, margin_over, require_law
from l2m_eval.condition.verdict import INCONCLUSIVE, SATISFIED, VIOLATED, Verdict, status_of
from l2m_eval.errors import L2MError


@dataclass(frozen=True)
class SeriesMember:
    """A model of a series: its name, the size of its state in elements, and the length it is meant for."""

    name: str
    state_size: float
    length: float


def check_series(members: Sequence[SeriesMember], law: ScalingLaw) -> Verdict:
    """Do the states of models meant for growing lengths grow at least like L^β?

    δ, the slope of log dim z(m_k) against log L_k with its standard error (Student's t for the scatter of more than
    two models about the line; two models define it exactly), is compared with β and its interval.

    Raises:
        L2MError: fewer than two lengths, or a size or length that is not positive.
    """
    require_law(law)
    for m in members:
        if not (
            m.state_size > 0 and m.length > 0 and math.isfinite(m.state_size) and math.isfinite(m.length)
        ):
            raise L2MError(
                f"series: {m.name} has state size {m.state_size!r} and length {m.length!r}; give positive numbers"
            )
    if len({m.length for m in members}) < 2:
        raise L2MError(
            f"series: {len(members)} models at one length; give models meant for at least two lengths"
        )
    x = np.log([m.length for m in members])
    y = np.log([m.state_size for m in members])
    centred = x - x.mean()
    delta = float(centred @ y / (centred @ centred))
    spread, error = 0.0, 0.0
    if len(members) > 2:
        residual = y - y.mean() - delta * centred
        freedom = len(members) - 2
        error = float(np.sqrt(residual @ residual / freedom / (centred @ centred)))
        error = 0.0 if error < 1e-12 else error  # rounding about an exact power law
        spread = float(stats.t.ppf(0.975, freedom)) * error
    margin, interval = margin_over(delta, spread, law)
    status = status_of(interval)
    how = {SATISFIED: "at least like", VIOLATED: "more slowly than", INCONCLUSIVE: "indistinguishably from"}[
        status
    ]
    longest = max(members, key=lambda m: m.length)
    sentence = (
        f"{status.capitalize()}: the states of the {len(members)} models up to {longest.name} grow like "
        f"L^{delta:.2f}{f' ± {error:.2f}' if error else ''} with the length they are meant for, {how} the mutual "
        f"information of the data, {law.describe()}: δ - β = {margin:.2f} (95 % interval {interval[0]:.2f} to "
        f"{interval[1]:.2f})."
    )
    numbers = {
        "delta": delta,
        "delta_error": error,
        "beta": law.exponent,
        "beta_interval": law.bounds,
        "beta_of": law.of,
        "margin": margin,
        "margin_interval": interval,
        "members": [asdict(m) for m in members],
    }
    return Verdict(status, "series", sentence, numbers)
