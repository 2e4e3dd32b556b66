"""Results files with samples logs, made from documents whose information is planted."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from l2m_eval.measurements.bipartite import bipartite_curves
from l2m_eval.measurements.context_use import context_use
from l2m_eval.settings import BipartiteSettings, ContextUseSettings

LENGTHS = (4, 8, 16, 32, 64, 128)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def write_bipartite(
    folder: Path,
    model: str,
    information: np.ndarray,
    *,
    date: float = 1.7e9,
    seed: int = 7,
    bytes_per_token: float | None = None,
    log: bool = True,
    document: str = "book",
    task: str = "l2m_bipartite_text",
    **block: Any,
) -> Path:
    """The files of one run: a results file and, with `log`, its samples log.

    Args:
        folder: Like the one given as --output_path.
        model: What was measured.
        information: Planted term of each document at each of `LENGTHS`, shape (documents, lengths), nats.
        bytes_per_token: Recorded with the curve, where given.
        document: Names of the documents begin so; equal names mean equal documents.
    """
    settings = BipartiteSettings(
        corpus=("books/*.txt",), lengths=LENGTHS, estimators=("direct",), resamples=200
    )
    marginal = -5.0 * np.array(LENGTHS) / 2
    docs, records = [], []
    for i, row in enumerate(information):
        docs.append(
            {"index": i, "document": f"{document}-{i}.txt", "offset": 0, "sha256": f"{i:04x}",
             "source": i, "group": i // 2}
        )  # fmt: skip
        records.append(
            {
                "cells": [[2, length // 2, length] for length in LENGTHS],
                "tokens_scored": 100,
                "conditional": (marginal + row).tolist(),
                "marginal": marginal.tolist(),
            }
        )
    (curve,) = bipartite_curves(records, docs, settings, seed)
    # Without what the first versions did not write: rival shapes (slow to compare) and errors of the fit.
    left_out = ("amplitude_error", "beta_error", "shapes", "bytes", "exact", "beta_exact")
    saved = {
        key: value for key, value in replace(curve, stored_shapes=()).to_json().items() if key not in left_out
    }
    if bytes_per_token is not None:
        saved["bytes"] = [length * bytes_per_token for length in LENGTHS]
    results = {
        "schema": "l2m-eval/bipartite/1",
        "settings": {**asdict(settings), "seed": seed},
        "sample": {"documents": len(docs), "documents_requested": len(docs), "source_documents": len(docs)},
        "versions": {"l2m-eval": "0.1.0", "torch": "2"},
        "warnings": [],
        "curves": [saved],
    } | block
    return write_run(
        folder, model, task, results, date=date, samples=list(zip(docs, records, strict=True)) if log else None,
        metrics={"direct_beta,none": curve.fit.exponent.value,
                 "direct_beta_stderr,none": curve.fit.exponent.standard_error,
                 "tokens_scored,none": 100.0},
    )  # fmt: skip


def write_run(
    folder: Path,
    model: str,
    task: str,
    block: dict[str, Any],
    *,
    date: float = 1.7e9,
    samples: list[tuple[dict[str, Any], dict[str, Any]]] | None = None,
    metrics: dict[str, float] | None = None,
) -> Path:
    """A results file as lm-eval 0.4.13 writes it, cut down to what is read."""
    stamp = f"2026-01-01T00-00-{int(date) % 100000:05d}.000000"
    place = folder / "".join(c if c.isalnum() else "_" for c in model)
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"results_{stamp}.json"
    data = {
        "results": {task: {"alias": task, **(metrics or {})}},
        "configs": {task: {"output_type": "l2m_logprobs", "l2m": block}},
        "config": {"model": "hf", "model_args": {"pretrained": model}, "batch_size": 8, "device": "cpu"},
        "date": date,
        "model_source": "hf",
        "model_name": model,
        "max_length": 128,
        "total_evaluation_time_seconds": "12.5",
        "lm_eval_version": "0.4.13",
    }
    file.write_text(json.dumps(data), encoding="utf-8")
    if samples is not None:
        lines = [json.dumps({"doc": doc, "filtered_resps": [json.dumps(record)]}) for doc, record in samples]
        (place / f"samples_{task}_{stamp}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return file


def planted(
    growth: float, *, noise: float = 0.5, shared: float = 2.0, documents: int = 40, seed: int = 0
) -> np.ndarray:
    """Terms 3·L^growth of each document, with noise of its own and noise that every model shares."""
    curve = 3 * np.array(LENGTHS, float) ** growth
    common = shared * np.random.default_rng(99).normal(size=(documents, 1))
    return curve + common + noise * np.random.default_rng(seed).normal(size=(documents, len(LENGTHS)))


def write_two_point(folder: Path, model: str, **changes: Any) -> Path:
    """A two-point run with a power law, a floor and both fits."""
    distances = [1, 2, 4, 8, 16, 32]
    mi = [1.1 * d**-0.9 + 0.001 for d in distances]
    fit = {
        "alpha": 0.9, "alpha_error": 0.02, "alpha_interval": [0.86, 0.94], "amplitude": 1.1, "amplitude_error": 0.02,
        "amplitude_interval": [1.06, 1.14], "distances": distances,
    }  # fmt: skip
    curve = {
        "name": "two_point", "distances": distances, "mi": mi, "standard_error": [0.01] * 6,
        "interval": [[v - 0.02, v + 0.02] for v in mi], "uncorrected": [v + 0.1 for v in mi], "null": [0.1] * 6,
        "null_spread": [0.02] * 6, "floor": [0.06] * 6, "pairs": [1000000 - d for d in distances], "documents": 9,
        "groups": 9, "exact": None,
        "fits": [{"form": "power_law", **fit, "reason": ""}, {"form": "power_law_with_offset", "reason": "too few"}],
    }  # fmt: skip
    block = {
        "schema": "l2m-eval/two_point/1", "settings": {"seed": 7, "corpus": ["books/*.txt"]},
        "sample": {"documents": 9}, "versions": {"l2m-eval": "0.1.0"}, "warnings": ["two_point: planted warning"],
        "curves": [curve | changes],
    }  # fmt: skip
    return write_run(folder, model, "l2m_two_point_text", block)


def write_position(folder: Path, model: str, loss: float, *, bytes_per_token: float = 4.0) -> Path:
    """A per-position run over the documents of `write_bipartite`, with its samples log."""
    ends = [1, 3, 7, 15]
    sizes = np.diff(ends, prepend=0)
    means = loss + 2.0 / np.sqrt(ends)
    rng = np.random.default_rng(4)
    samples = []
    for i in range(20):
        sums = -(means + 0.3 * rng.normal()) * sizes
        doc = {"index": i, "document": f"book-{i}.txt", "offset": 0, "sha256": f"{i:04x}", "source": i}
        record = {"ends": ends, "bytes": (bytes_per_token * sizes).tolist(), "sums": sums.tolist()}
        samples.append((doc, record | {"tokens_scored": 15}))
    total = np.array([-sum(r["sums"]) for _, r in samples])
    overall = {
        "value": total.mean() / 15,
        "standard_error": total.std() / 15 / 20**0.5,
        "interval": [None, None],
    }
    bits = {key: value / bytes_per_token / np.log(2) for key, value in overall.items() if key != "interval"}
    block = {
        "schema": "l2m-eval/position_nll/1", "settings": {"seed": 7, "corpus": ["books/*.txt"]},
        "sample": {"documents": 20}, "versions": {"l2m-eval": "0.1.0"}, "warnings": [],
        "curve": {
            "bins": [{"name": n, "first": f, "last": l} for n, f, l in
                     [("1", 1, 1), ("2-3", 2, 3), ("4-7", 4, 7), ("8-15", 8, 15)]],
            "nll": means.tolist(), "standard_error": [0.07] * 4, "tokens": (20 * sizes).tolist(),
            "bits_per_byte": (means / bytes_per_token / np.log(2)).tolist(), "bits_per_byte_error": [0.02] * 4,
            "bytes_per_token": [bytes_per_token] * 4, "byte_position": [bytes_per_token * e for e in ends],
            "documents": 20, "clusters": 20, "exact": None, "overall": overall, "overall_bits_per_byte": bits,
            "context_gain": {"value": 0.7, "standard_error": 0.05, "interval": [0.6, 0.8]},
            "fit": {"entropy_rate": loss, "exponent": 0.5, "bins": ["2-3", "4-7", "8-15"], "reason": ""},
        },
    }  # fmt: skip
    return write_run(folder, model, "l2m_position_nll_text", block, samples=samples)


def write_context_use(
    folder: Path, model: str, saturates: float, *, seed: int = 0, claimed: int = 4096
) -> Path:
    """A run whose 30 documents gain k / (k + saturates) of 40 nats from the last k tokens, with noise of 1 each."""
    settings = ContextUseSettings(corpus=("books/*.txt",), resamples=200)
    contexts = [1, 4, 16, 64, 256, 1024]
    k = np.array(contexts, float)
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(30):
        gained = 40 * k / (k + saturates) + rng.normal(size=len(k)) - 200 + 5 * rng.normal()
        doc = {"index": i, "document": f"book-{i}.txt", "offset": 0, "sha256": f"{i:04x}", "source": i}
        record = {"contexts": contexts, "target": 64, "log_probs": gained.tolist(), "tokens_scored": 3000,
                  "claimed_context": claimed, "bytes": 256}  # fmt: skip
        samples.append((doc, record))
    use = context_use([r for _, r in samples], [d for d, _ in samples], settings, 7)
    block = {
        "schema": "l2m-eval/context_use/1", "settings": {**asdict(settings), "seed": 7},
        "sample": {"documents": 30}, "versions": {"l2m-eval": "0.1.0"}, "warnings": [], **use.to_json(),
    }  # fmt: skip
    return write_run(folder, model, "l2m_context_use_text", block, samples=samples)


def write_everything(folder: Path, count: int, *, bytes_per_token: tuple[float, ...] = (4.0,)) -> None:
    """Runs of every kind over the same documents for so many models, which differ in all that is planted."""
    for i in range(count):
        model = f"{'abcdefghijkl'[i]}-model-{100 * (i + 1)}M"
        growth, size = 0.5 - 0.04 * i, bytes_per_token[i % len(bytes_per_token)]
        write_bipartite(
            folder / "bipartite", model, planted(growth, seed=i), bytes_per_token=size, claimed_context=4096
        )
        write_position(folder / "position", model, 3.0 + 0.1 * i, bytes_per_token=size)
        write_two_point(folder / "two-point", model)
        write_context_use(folder / "context", model, 20.0 * (i + 1), seed=i)
