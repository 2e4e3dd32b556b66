"""A number with its uncertainty: the one type in which estimators, fits and saved results give it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from l2m_eval.statistics.intervals import resampled_error, resampled_interval, student_t

Interval = tuple[float, float]
UNKNOWN: Interval = (math.nan, math.nan)
NORMAL_95 = 1.959963984540054  # standard errors to either end of the 95 % interval of a normal distribution


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and 95 % interval.

    Attributes:
        value: NaN where there is none.
        standard_error: NaN where unknown.
        interval: Both ends; NaN where unknown, infinite where the documents do not bound it.
    """

    value: float
    standard_error: float = math.nan
    interval: Interval = UNKNOWN

    @classmethod
    def of_mean(cls, value: float, standard_error: float, clusters: int) -> Estimate:
        """An estimate whose interval is Student's t for the number of independent groups of documents."""
        reach = student_t(clusters) * standard_error
        return cls(value, standard_error, (value - reach, value + reach))

    @classmethod
    def resampled(cls, value: float, replicates: ArrayLike, clusters: int) -> Estimate:
        """An estimate with the error and the interval that its values on resampled clusters give."""
        return cls(
            value, resampled_error(replicates, clusters), resampled_interval(replicates, value, clusters)
        )

    def to_json(self) -> dict[str, Any]:
        """``value``, ``standard_error`` and ``interval``; null where not known."""
        return {
            "value": finite_or_none(self.value),
            "standard_error": finite_or_none(self.standard_error),
            "interval": finite_or_none(self.interval),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """The estimate that `to_json` wrote; what is missing is not known."""
        return cls(
            as_float(data.get("value")), as_float(data.get("standard_error")), _interval(data.get("interval"))
        )

    def named_json(self, name: str) -> dict[str, Any]:
        """The same as the keys NAME, NAME_error and NAME_interval, as fits carry it; numbers as they are."""
        return {
            name: self.value,
            f"{name}_error": self.standard_error,
            f"{name}_interval": list(self.interval),
        }

    @classmethod
    def from_named_json(cls, data: Mapping[str, Any], name: str) -> Estimate:
        """The estimate that `named_json` wrote."""
        return cls(
            as_float(data.get(name)),
            as_float(data.get(f"{name}_error")),
            _interval(data.get(f"{name}_interval")),
        )


def as_float(value: Any) -> float:
    """A number of a JSON file: null, "N/A" and other text are NaN."""
    if isinstance(value, bool) or value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def finite_or_none(value: Any) -> Any:
    """A number, or nested lists and mappings of them, as JSON carries it: null where it is not known."""
    if isinstance(value, Mapping):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_none(item) for item in value]
    return value if math.isfinite(value) else None


def _interval(pair: Any) -> Interval:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        return UNKNOWN
    return as_float(pair[0]), as_float(pair[1])
