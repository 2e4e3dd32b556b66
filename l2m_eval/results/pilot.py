"""How many documents a wanted standard error needs, from the results of a smaller run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from l2m_eval.errors import L2MError
from l2m_eval.results.headline import Quantity, named_quantity
from l2m_eval.results.run import Results


@dataclass(frozen=True)
class Needed:
    """The documents that one number needs.

    Attributes:
        name: Of the number.
        value: In the pilot.
        standard_error: In the pilot.
        wanted: Standard error that is wanted.
        documents: Of the pilot.
        needed: Documents for the wanted error. Errors shrink with the root of the number of documents; the pilot's
            own is uncertain by a share of 1/√(2 · documents), its square by twice that.
        tokens_per_document: Tokens that the pilot fed to the model for each; NaN where it does not say.
    """

    name: str
    value: float
    standard_error: float
    wanted: float
    documents: int
    needed: int
    tokens_per_document: float

    def to_json(self) -> dict[str, Any]:
        """For schema ``l2m-eval/plan/1``; null where unknown."""
        return {key: None if value != value else value for key, value in vars(self).items()}


def documents_needed(results: Sequence[Results], name: str, error: float) -> list[Needed]:
    """Documents for a standard error of one number, or of a curve at each of its lengths.

    Args:
        results: Of the pilot.
        name: As `named_quantity` takes it (``beta``, ``direct_mi@2048``), or a curve without its length
            (``direct_mi``).
        error: Standard error wanted, in the unit of the number.

    Raises:
        L2MError: the results have no such number, or not its error; an error that is not positive.
    """
    if not (math.isfinite(error) and error > 0):
        raise L2MError(f"error: {error:g} for {name}; give a standard error above 0, for example beta=0.01")
    points = [
        metric.partition("@")[2].lstrip("0")
        for one in results
        for metric in one.metrics
        if metric.partition("@")[0] == name
    ]
    names = [f"{name}@{point}" for point in dict.fromkeys(points)] if points else [name]
    return [_needed(results, one, error) for one in names]


def _needed(results: Sequence[Results], name: str, error: float) -> Needed:
    quantity = named_quantity(results, name)
    found, own = quantity.estimate.standard_error, quantity.results
    documents = _documents_behind(quantity)
    if not (math.isfinite(found) and found > 0 and documents):
        raise L2MError(
            f"error: the results have no standard error of {name}; measure three documents or more from different "
            "sources"
        )
    return Needed(
        quantity.name,
        quantity.estimate.value,
        found,
        error,
        documents,
        max(2, math.ceil(documents * (found / error) ** 2)),
        float(own.metrics.get("tokens_scored", math.nan)),
    )


def _documents_behind(quantity: Quantity) -> int:
    """Documents that a number rests on: those of its length, where a curve has fewer at some."""
    own, (kind, _, point) = quantity.results, quantity.name.partition("@")
    curve = next((one for one in own.bipartite if kind == f"{one.name}_mi"), None)
    if curve is not None and curve.documents is not None:
        return int(curve.documents[curve.lengths.tolist().index(int(point))])
    return int(own.sample.get("documents") or 0)
