"""How far two right computations of one number may lie apart, from how rounding grows into it.

None of these is found by trying: other processors, thread counts, batch sizes and libraries add the same numbers in
another order, and what that changes is derived here. Numbers in one place and in words, so that a test says which
rounding it allows (`abs=of_log_probabilities(64)`) and none is loosened until it passes.

What is computed again from the *same* records in the same process is compared to the bit, not with these: fits of
curves near zero and quantiles of resamples multiply the last digits of the records by any factor, and a horizon of
10¹⁰ tokens is an exponential of a fit, which has the change of an exponent of 1/2 forty-six times. See
`of_an_exponent` for the factor where a fit is well determined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# Half the distance of neighbouring numbers near one: what one operation rounds by, relative to its result.
FLOAT32 = 2.0**-24
FLOAT64 = 2.0**-53


def of_a_log_probability(
    largest: float = 20.0, layers: int = 2, width: int = 64, unit: float = FLOAT32
) -> float:
    """Nats between two computations of one token's log-probability by a small model.

    A log-probability is a logit less a logarithm of a sum, numbers up to `largest` nats. A logit carries the rounding
    of what was computed before it: in each layer about sixteen operations one after the other (norms, projections,
    rotation, softmax, activation, residuals), each a sum of up to `width` products. Roundings have no common sign, so
    n of them make √n: √(16 · layers · width) of them, and √2 more since both computations round.

    For the tests' models (two layers, up to 64 wide) 8·10⁻⁵ nats; what such a test is to find (another context,
    padding that is read, bfloat16) moves a token by 10⁻² nats and more.
    """
    return math.sqrt(2 * 16 * layers * width) * unit * largest


def of_log_probabilities(tokens: int, sums: int = 1, **model: float) -> float:
    """Nats between two computations of a signed sum of `sums` numbers, each the sum of `tokens` log-probabilities.

    Tokens round without a common direction: √n times one of them. A mean of documents is within what one document is.
    """
    return math.sqrt(sums * tokens) * of_a_log_probability(**model)  # type: ignore[arg-type]


def of_a_sum(terms: int, magnitude: float = 1.0, unit: float = FLOAT64) -> float:
    """Between two orders of adding `terms` numbers of which no partial sum is above `magnitude`.

    Each addition rounds by at most one unit of its result: no order differs by more than one unit a term from the
    exact sum, two orders by twice that.
    """
    return 2 * terms * unit * abs(magnitude)


def of_an_exponent(lengths: ArrayLike, values: ArrayLike, rounding: float) -> float:
    """Change of the log–log slope when each value of the curve changes by at most `rounding` in the worst direction.

    The slope is Σ c ln I, c the centred log-lengths over the sum of their squares: Σ |c| · rounding / |I|.
    """
    x = np.log(np.asarray(lengths, float))
    centred = x - x.mean()
    return float((np.abs(centred) / (centred @ centred) * rounding / np.abs(values)).sum())


def differing_texts(one: list[list[int]], other: list[list[int]]) -> int:
    """Number of sampled texts that are not the same: at most one of a handful, on any machine.

    A draw lands within rounding of a boundary of the cumulative distribution now and then, and everything after it
    is another text. With 10⁻⁵ nats a log-probability the boundaries between 320 tokens move by 2·10⁻⁵ of the unit
    interval in all: one text of 64 tokens in six hundred is another, and two of seven in one case of 20,000.
    """
    return sum(a != b for a, b in zip(one, other, strict=True))


def numbers(found: Any, path: str = "") -> dict[str, float]:
    """All numbers in nested lists and dicts, by where they stand."""
    if isinstance(found, dict):
        return {k: v for key in found for k, v in numbers(found[key], f"{path}/{key}").items()}
    if isinstance(found, list):
        return {k: v for i, item in enumerate(found) for k, v in numbers(item, f"{path}/{i}").items()}
    return {path: found} if isinstance(found, (int, float)) else {}


def assert_same_scores(
    records: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], rounding: float
) -> None:
    """Records of documents scored in other batches: the same whole numbers, log-probabilities within rounding."""
    texts = [[record["generated"] for record in some if "generated" in record] for some in (records, others)]
    assert differing_texts(*texts) <= 1
    for record, other in zip(records, others, strict=True):
        found, expected = (
            numbers({name: part for name, part in one.items() if name != "generated"})
            for one in (record, other)
        )
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            allowed = 0.0 if isinstance(value, int) else rounding
            gap = abs(found[name] - value)
            both_unknown = math.isnan(found[name]) and math.isnan(value)
            assert gap <= allowed or both_unknown, f"{name}: {found[name]} and {value}"
