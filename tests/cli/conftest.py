"""Planted harness results: curves that follow a law which the test chooses, with the records behind them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

LENGTHS = [2**k for k in range(2, 12)]
MODELS = {
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 65},
    "mamba": {"state_size": 8},
    "lfm2": {
        "num_key_value_heads": 2,
        "layer_types": ["conv", "full_attention", "conv"],
        "block_auto_adjust_ff_dim": False,
    },
}


@pytest.fixture(scope="session")
def configurations(tmp_path_factory) -> dict[str, Path]:
    """Folders with configurations of 3 layers, width 64, 4 heads of 16, in bfloat16."""
    from transformers import AutoConfig

    folders = {}
    for family, settings in MODELS.items():
        wide = {"hidden_size": 64, "vocab_size": 128, "num_hidden_layers": 3, "dtype": "bfloat16"}
        if family != "mamba":
            wide |= {"num_attention_heads": 4, "intermediate_size": 64}
        folders[family] = tmp_path_factory.mktemp("models") / family
        AutoConfig.for_model(family, **wide, **settings).save_pretrained(folders[family])
    return folders


@pytest.fixture
def planted(tmp_path, configurations):
    """Write results of a run in which I(L) = amplitude · L^beta, over as many documents as asked for."""

    def write(
        model,
        *,
        beta=0.5,
        amplitude=2.0,
        documents=40,
        spread=0.1,
        beta_spread=0.0,
        logged=True,
        longest_byte=4.0,
        task="l2m_bipartite_text",
        name="",
        settings=None,
        log_seed=0,
        **run,
    ):
        lengths = np.array(LENGTHS, float)
        rng = np.random.default_rng(log_seed)
        # What documents share enters all models alike: it cancels in ratios.
        scale = 1 + spread * rng.normal(size=(documents, 1))
        exponents = beta + beta_spread * rng.normal(size=(documents, 1))
        terms = scale * amplitude * lengths**exponents  # (documents, lengths)
        docs = [
            {
                "index": i,
                "source": i,
                "group": i,
                "document": f"book{i}.txt",
                "offset": 0,
                "sha256": f"{log_seed}:{i}",
            }
            for i in range(documents)
        ]
        records = [
            {
                "cells": [[2, length // 2, length] for length in LENGTHS],
                "conditional": row.tolist(),
                "marginal": [0.0] * len(LENGTHS),
                "tokens_scored": 1,
                "bytes": (lengths * longest_byte).tolist(),
            }
            for row in terms
        ]
        used = {"corpus": ["books/*.txt"], "seed": 7, "estimators": ["direct"], "lengths": LENGTHS,
                "documents": documents, "marginal": "paired", "correction": "none", **(settings or {})}  # fmt: skip
        from l2m_eval.measurements.bipartite import bipartite_curves
        from l2m_eval.settings import BipartiteSettings, read_settings

        known = {k: v for k, v in used.items() if k in BipartiteSettings.__dataclass_fields__}
        (curve,) = bipartite_curves(records, docs, read_settings(BipartiteSettings, known), 7)
        block = {
            "schema": "l2m-eval/bipartite/1",
            "settings": used,
            "sample": {"documents": documents},
            "versions": {},
            "curves": [replace(curve, clusters=documents, stored_shapes=()).to_json() | {"not_positive": []}],
        }
        pretrained = str(configurations.get(model, model))
        folder = tmp_path / (name or model)
        folder.mkdir(exist_ok=True)
        data = {
            "results": {task: {}},
            "configs": {task: {"output_type": "l2m_logprobs", "l2m": block}},
            "config": {
                "model": "hf",
                "model_args": {"pretrained": pretrained},
                "model_dtype": "torch.bfloat16",
            },
            "date": 1.7e9,
            "model_source": "hf",
            "model_name": pretrained,
        } | run
        (folder / "results_1.json").write_text(json.dumps(data))
        if logged:
            lines = [
                json.dumps({"doc": doc, "filtered_resps": [json.dumps(record)]})
                for doc, record in zip(docs, records, strict=True)
            ]
            (folder / f"samples_{task}_1.jsonl").write_text("\n".join(lines))
        return folder

    return write
