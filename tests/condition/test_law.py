"""The laws that a state is checked against: the published ones, and those that make no sense."""

from __future__ import annotations

import math

import numpy as np
import pytest
from toys import state

from l2m_eval.condition.law import PUBLISHED, ScalingLaw, published_law
from l2m_eval.condition.state_check import check_model
from l2m_eval.errors import L2MError


def test_published_laws_are_those_of_the_paper():
    stated = {"pg19-llama-3.1-405b-direct": (2.27, 0.76), "pg19-llama-3.1-405b-vclub": (3.26, 0.71)}
    assert {name: (law.amplitude, law.exponent) for name, law in PUBLISHED.items()} == stated
    assert published_law("pg19-llama-3.1-405b-vclub") is PUBLISHED["pg19-llama-3.1-405b-vclub"]
    with pytest.raises(L2MError, match="reference: 'pg20'"):
        published_law("pg20")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"exponent": math.nan}, "beta"),
        ({"amplitude": 0.0}, "amplitude"),
        ({"ratio": 1.0}, "ratio"),
        ({"replicates": np.zeros(5)}, "replicates"),
    ],
)
def test_a_law_that_makes_no_sense_is_refused(change, complaint):
    with pytest.raises(L2MError, match=complaint):
        check_model(state("L"), ScalingLaw(**{"amplitude": 1.0, "exponent": 0.5, "of": "toy"} | change))
