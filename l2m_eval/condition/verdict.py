"""The outcome of a check, its exit code, and how it is written.

`Verdict.to_json` writes the schema ``l2m-eval/check/1``:

``schema``
    The string above. Fields may be added within version 1; none changes its meaning.
``check``
    ``single-model`` (Theorem 5.4), ``series`` (Theorem 5.6), ``mi-capability`` (Definition 5.3) or ``error``.
``status``, ``exit_code``
    ``satisfied`` 0, ``violated`` 1, ``inconclusive`` 2, ``error`` 3.
``sentence``
    The verdict in words, with its numbers.
``numbers``
    Of ``single-model``: ``gamma``, ``beta``, ``beta_interval``, ``beta_of``, ``margin``, ``margin_error``,
    ``margin_interval``, ``growth`` (words), ``state_source``, ``saturation_length``, ``constant_part`` and
    ``slope_per_token`` (elements), ``context`` (tokens that the model accepts), ``at_context`` (``length``,
    ``information`` by the law and ``capacity`` in nats, ``share``; null where the context is unknown), ``notes`` on
    the state, ``horizon`` (``length``, ``interval``, ``until`` in tokens, ``never`` the fraction of resamples that
    never cross, ``assumption``) and, with a measured curve, ``utilisation`` (``lengths``, ``elements`` of the state
    after the left block, ``capacity`` in nats, ``values``, ``errors``). With a measurement of smaller states
    ``measured``, see `l2m_eval.condition.measured.measured_numbers`.
    Of ``series``: ``delta``, ``delta_error``, ``beta``, ``beta_interval``, ``beta_of``, ``margin``,
    ``margin_interval``, ``members``.
    Of ``mi-capability``: ``unit``, ``lengths``, ``ratios``, ``errors``, ``trend``, ``trend_error``,
    ``trend_interval``, ``tolerance``, ``model``, ``reference``.
    A number that is infinite or unknown is null (a horizon's length is null when it is never reached).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.statistics.estimate import Interval

SCHEMA = "l2m-eval/check/1"
SATISFIED, VIOLATED, INCONCLUSIVE, ERROR = "satisfied", "violated", "inconclusive", "error"
EXIT_CODES = {SATISFIED: 0, VIOLATED: 1, INCONCLUSIVE: 2, ERROR: 3}


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check; `numbers` holds what the module's docstring lists for `check`."""

    status: str
    check: str
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 satisfied, 1 violated, 2 inconclusive, 3 error."""
        return EXIT_CODES[self.status]

    @classmethod
    def of_error(cls, error: Exception) -> Verdict:
        """The verdict that no check was possible."""
        return cls(ERROR, "error", str(error))

    @classmethod
    def from_json(cls, data: Any, where: str = "check") -> Verdict:
        """The verdict that `to_json` wrote; numbers that were infinite or unknown are None.

        Raises:
            L2MError: another schema, or a verdict that is not complete; `where` names the file.
        """
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else data
            raise L2MError(f"{where}: the check has the schema {found!r}; this version reads {SCHEMA}")
        if data.get("status") not in EXIT_CODES:
            raise L2MError(
                f"{where}: {data.get('status')!r} is not a verdict; expected {', '.join(EXIT_CODES)}"
            )
        return cls(
            data["status"], str(data.get("check")), str(data.get("sentence")), dict(data.get("numbers") or {})
        )

    def to_json(self) -> dict[str, Any]:
        """Schema ``l2m-eval/check/1``, see the module's docstring; plain JSON types only."""
        return {
            "schema": SCHEMA,
            "check": self.check,
            "status": self.status,
            "exit_code": self.exit_code,
            "sentence": self.sentence,
            "numbers": _plain(dict(self.numbers)),
        }


def status_of(interval: Interval) -> str:
    """Satisfied where a margin is at least zero, violated where it is below, inconclusive where it may be either."""
    if interval[0] >= -1e-12:
        return SATISFIED
    return VIOLATED if interval[1] < -1e-12 else INCONCLUSIVE


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
