"""Toy states, laws and curves that the check's tests share."""

from __future__ import annotations

import math

import numpy as np

from l2m_eval.condition.law import MutualInformationCurve, ScalingLaw
from l2m_eval.condition.series import SeriesMember
from l2m_eval.history_state import history_state_size

LENGTHS = np.array([2.0**k for k in range(1, 12)])


def state(formula, bits=16):
    return history_state_size({"formula": formula, "bits": bits, "name": formula}, LENGTHS.astype(int))


def law(beta=0.75, amplitude=2.0, spread=0.02, resamples=2000, seed=0):
    """A law whose resamples err in exponent, and in amplitude the other way, as fits do."""
    exponents = beta + spread * np.random.default_rng(seed).normal(size=resamples)
    return ScalingLaw(
        amplitude,
        beta,
        "a toy",
        replicates=np.stack([amplitude * np.exp(-4 * (exponents - beta)), exponents], 1),
    )


def curve(model="model", beta=0.75, amplitude=2.0, relative=0.05, **kwargs):
    values = amplitude * LENGTHS**beta
    settings = {"estimator": "direct", "documents": 100, "tokenizer": "t"} | kwargs.pop("settings", {})
    return MutualInformationCurve(model, kwargs.pop("corpus", "books"), LENGTHS, values, relative * values, settings,
                                  **kwargs)  # fmt: skip


def series(exponent, noise=0.0):
    rng = np.random.default_rng(3)
    return [
        SeriesMember(f"m{n}", 100.0 * n**exponent * math.exp(noise * rng.normal()), n)
        for n in 2.0 ** np.arange(10, 16)
    ]
