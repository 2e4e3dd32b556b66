"""Settings of the estimate of two-point information."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.estimators.entropy import EntropyEstimator, entropy_estimator

MARGINALS = ("pairs", "global")
NULLS = ("shuffle", "shift", "none")
GROUPS = 32  # of documents: the error of the jackknife's error is 1/sqrt(2 * 31) = 13 percent
MOST_GROUPS = 1024  # a group is 10 bits of the packed pair, and a row of the marginal counts


def _check_choice(name: str, value: str, accepted: Sequence[str]) -> None:
    if value not in accepted:
        raise L2MError(f"{name}: {value!r} is not known; accepted: {', '.join(accepted)}")


def check_integer(name: str, value: int, least: int, most: int | None = None) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        upwards = "" if most is None else f" to {most}"
        raise L2MError(f"{name}: {value!r} is not accepted; give an integer from {least}{upwards}")


@dataclass(frozen=True)
class PairEstimation:
    """How two-point information is estimated.

    Attributes:
        estimator: Of the entropies: "grassberger", "plugin" or "miller_madow".
        marginals: "pairs": H of the pair sample's own first and second tokens. "global": 2 H_1 of all tokens, as
            published; wrong by the tokens near the edges when documents are short compared with d. Minus the null
            both are the same number, H(shuffled pairs) - H(pairs).
        null: What is subtracted. "shuffle": the estimate on shuffled tokens. "shift": that on pairs of the text with
            itself, shifted by a large part of its length: for sequences whose neighbours depend on each other so much
            that N pairs sample no better than far fewer would. "none": nothing.
        shuffles: How many, at least 2.
        groups: Groups of documents for the jackknife, at least 2.
        seed: Of the shuffles and of ties between documents of the same length.
        memory_gb: Gigabytes to stay within, for all processes together, without what holds the tokens.
        processes: Processes that count. They are fresh interpreters, so a script needs the usual
            `if __name__ == "__main__":`.

    Raises:
        L2MError: A setting that is not accepted.
    """

    estimator: str = "grassberger"
    marginals: str = "pairs"
    null: str = "shuffle"
    shuffles: int = 5
    groups: int = GROUPS
    seed: int = 0
    memory_gb: float = 4.0
    processes: int = 1

    def __post_init__(self) -> None:
        entropy_estimator(self.estimator)
        _check_choice("marginals", self.marginals, MARGINALS)
        _check_choice("null", self.null, NULLS)
        check_integer("shuffles", self.shuffles, 2)
        check_integer("groups", self.groups, 2, MOST_GROUPS)
        check_integer("processes", self.processes, 1)
        check_integer("seed", self.seed, 0)
        if isinstance(self.memory_gb, (bool, str)) or not self.memory_gb > 0:
            raise L2MError(f"memory_gb: {self.memory_gb!r} is not accepted; give gigabytes above zero")

    @property
    def entropies(self) -> EntropyEstimator:
        return entropy_estimator(self.estimator)


DEFAULT = PairEstimation()
