"""A result of `l2m_state` whose smaller states keep planted shares, as its task writes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from l2m_eval.measurements.smaller_state import StateCurve, state_curve
from l2m_eval.settings import StateSettings

STATE_LENGTHS = (256, 1024, 4096)
STATES = ("bits8", "bits4", "window4", "window16", "window64", "window256")
NUMBERS = 192  # of a token, 16 bits each


def planted_state_curve(
    documents: int = 30, states: tuple[str, ...] = STATES
) -> tuple[StateCurve, list[Any], list[Any]]:
    """The curve, its records and its documents. A window of w tokens keeps 1 − exp(−w / √L) of 3·L^0.5 nats."""
    settings = StateSettings(lengths=STATE_LENGTHS, states=states, resamples=200)
    lengths = np.array(STATE_LENGTHS, float)
    information = 3 * lengths**0.5 * np.random.default_rng(0).gamma(9, 1 / 9, (documents, 1))
    sizes = {"full": 16 * NUMBERS * lengths / 2}
    shares = {"full": np.ones(3)}
    for way in settings.ways:
        if way.family == "context":  # a shorter prompt: no state was read
            shares[way.name] = np.full(3, 0.5)
            sizes = {}
        elif way.drops:
            shares[way.name] = 1 - np.exp(-way.amount / np.sqrt(lengths))
            sizes[way.name] = 16.0 * NUMBERS * np.minimum(way.amount - 1, lengths / 2)
        else:
            shares[way.name] = np.full(3, 1 - 2.0 ** (1 - way.amount))
            sizes[way.name] = (way.amount + 1) * NUMBERS * lengths / 2
    records, docs = [], []
    for number, row in enumerate(information):
        log_probs = {name: (row * share).tolist() for name, share in shares.items()}
        records.append(
            {
                "lengths": list(STATE_LENGTHS),
                "log_probs": {"marginal": [0.0] * 3} | log_probs,
                "bits": {name: size.astype(int).tolist() for name, size in sizes.items()},
                "tokens_scored": 100,
            }
        )
        docs.append(
            {"index": number, "source": number, "group": number, "document": f"book{number}.txt", "offset": 0,
             "sha256": str(number)}
        )  # fmt: skip
    return state_curve(records, docs, settings, 7), records, docs


def write_state(
    folder: Path,
    model: str,
    corpus: str = "books/*.txt",
    date: float = 1.7e9,
    states: tuple[str, ...] = STATES,
) -> Path:
    """A results file of `l2m_state_text` with this model."""
    curve, _, docs = planted_state_curve(states=states)
    settings = asdict(StateSettings(lengths=STATE_LENGTHS, states=states, resamples=200))
    block = {
        "schema": "l2m-eval/state/1",
        "settings": settings | {"corpus": [corpus], "seed": 7},
        "sample": {"documents": len(docs)},
        "versions": {},
        "warnings": [],
        "curve": curve.to_json(),
    }
    data = {
        "results": {"l2m_state_text": {}},
        "configs": {"l2m_state_text": {"output_type": "l2m_logprobs", "l2m": block}},
        "config": {"model": "hf", "model_args": {"pretrained": model}},
        "date": date,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"results_2026-01-01T00-00-{int(date) % 100000:05d}.000001.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    return file
