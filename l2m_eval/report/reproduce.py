"""The command that measures the same again, from what a results file says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from l2m_eval.fields import AUTO
from l2m_eval.results.run import Results
from l2m_eval.settings import DEFAULT_LENGTHS, DEFAULT_SEED, IN_TOKENS

# What results were measured with that are older than a setting whose default is something else.
_BEFORE = {"blocks": 1}


def reproducing_command(results: Results) -> str:
    """``lm_eval run ...`` with the model, task and every setting that is not the default.

    It names the model and the files as the run did, so it works from the same folder.
    """
    run = results.run
    parts = ["lm_eval", "run", "--model", run.backend]
    if run.model_args:
        parts += ["--model_args", _model_args(run.model_args)]
    parts += ["--tasks", results.task]
    metadata = changed_settings(results)
    if metadata:
        parts += ["--metadata", json.dumps(metadata, ensure_ascii=False)]
    for key, option in (("batch_size", "--batch_size"), ("device", "--device"), ("limit", "--limit")):
        value = run.config.get(key)
        if value not in (None, "", "None"):
            parts += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    parts += ["--output_path", "out", "--log_samples"]
    return shlex.join(parts)


def changed_settings(results: Results) -> dict[str, Any]:
    """The settings used that are not the defaults of their task, and the corpus, as ``--metadata`` takes them."""
    defaults = {
        f.name: f.default
        for f in fields(results.task_kind.settings)
        if f.default is not MISSING and "read" in f.metadata
    }
    chosen = results.block.get("set_by_the_run") or ()
    changed: dict[str, Any] = {}
    for key, value in results.settings.items():
        if key in chosen:
            # What results with a model_context had as `AUTO`.
            if key in IN_TOKENS and results.settings.get("model_context") is not None:
                changed[key] = AUTO
            continue
        if key == "process_settings":
            pairs = value.items() if isinstance(value, Mapping) else value or ()
            changed.update({str(name): setting for name, setting in pairs})
        elif key == "seed":
            if value not in (None, DEFAULT_SEED):
                changed[key] = value
        elif key == "corpus":  # a task's YAML has one of its own
            changed[key] = value[0] if isinstance(value, list) and len(value) == 1 else value
        elif value is not None and key in defaults and _plain(value) != _plain(defaults[key]):
            changed[key] = value
    if not results.settings.get("results"):
        changed |= {
            key: value for key, value in _BEFORE.items() if key in defaults and key not in results.settings
        }
    if list(changed.get("lengths") or ()) == list(DEFAULT_LENGTHS):
        del changed["lengths"]
    return changed


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


def _model_args(arguments: Mapping[str, Any]) -> str:
    simple = all(isinstance(value, (str, int, float, bool)) for value in arguments.values())
    if simple and not any(set(str(value)) & set(",={}") for value in arguments.values()):
        return ",".join(f"{key}={value}" for key, value in arguments.items())
    return json.dumps(dict(arguments), default=str)
