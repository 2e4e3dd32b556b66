"""Reading a part of a results file: typed values, and errors that name what is missing and where."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Array, Integers
from l2m_eval.statistics.estimate import Estimate, as_float


class SavedPart:
    """A mapping in a results file; `where` names it in errors."""

    def __init__(self, data: Any, file: Path, where: str):
        self.file, self.where = file, where
        if not isinstance(data, Mapping):
            raise self.error("is not a mapping")
        self.data = data

    def error(self, what: str) -> L2MError:
        return L2MError(f"results: {self.where} in {str(self.file)!r} {what}; measure again")

    def part(self, data: Any, where: str) -> SavedPart:
        return SavedPart(data, self.file, f"{self.where}, {where}")

    def required(self, key: str) -> Any:
        if self.data.get(key) is None:
            raise self.error(f"has no {key}")
        return self.data[key]

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self.data.get(key)
        return value if isinstance(value, Mapping) else {}

    def parts(self, key: str, what: str) -> list[SavedPart]:
        value = self.required(key)
        if not isinstance(value, list) or not value:
            raise self.error(f"has no {what}")
        return [self.part(item, f"{what} {number}") for number, item in enumerate(value, 1)]

    def optional_parts(self, key: str, what: str) -> list[SavedPart]:
        return self.parts(key, what) if self.data.get(key) else []

    def array(self, key: str, count: int | None = None) -> Array:
        """Numbers, NaN for null; `count` of them."""
        values = self.required(key)
        if not isinstance(values, list) or (count is not None and len(values) != count):
            raise self.error(f"has {key} of another length than its curve")
        return np.array([as_float(value) for value in values], float)

    def optional_array(self, key: str, count: int) -> Array:
        """As `array`; NaN throughout where the file has none."""
        return self.array(key, count) if self.data.get(key) is not None else np.full(count, math.nan)

    def whole_numbers(self, key: str) -> Integers:
        """Lengths or distances: every one is known, and none is beyond what a float holds exactly."""
        values = self.array(key)
        if not (np.abs(values) < 2**53).all():
            raise self.error(f"has {key} that are not whole numbers")
        return values.astype(np.int64)

    def array_or_none(self, key: str, count: int) -> Array | None:
        return self.array(key, count) if self.data.get(key) is not None else None

    def integers(self, key: str) -> tuple[int, ...]:
        return tuple(int(value) for value in self.data.get(key) or ())

    def number(self, key: str) -> float:
        return as_float(self.data.get(key))

    def count(self, key: str) -> int:
        value = self.number(key)
        return int(value) if math.isfinite(value) else 0

    def text(self, key: str) -> str:
        return str(self.data.get(key) or "")

    def estimate(self, key: str) -> Estimate:
        """The estimate of a mapping with value, standard_error and interval; unknown where there is none."""
        return Estimate.from_json(self.mapping(key))

    def named_estimate(self, name: str) -> Estimate:
        """The estimate of the keys NAME, NAME_error and NAME_interval."""
        return Estimate.from_named_json(self.data, name)
