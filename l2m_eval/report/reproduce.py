"""The command that measures the same again, from what a results file says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from l2m_eval import settings as settings_module
from l2m_eval.results import Results

_CLASSES = {
    "bipartite": ("BipartiteSettings",),
    "condition": ("ConditionSettings", "BipartiteSettings"),
    "two_point": ("TwoPointSettings", "GeneratedSettings"),
    "position_nll": ("PositionSettings",),
}
_DEFAULT_SEED = 1234


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
    """The task's settings that are not the defaults of their class, as ``--metadata`` takes them."""
    defaults = _defaults(results)
    changed: dict[str, Any] = {}
    for key, value in results.settings.items():
        if key == "process_settings":
            pairs = value.items() if isinstance(value, Mapping) else value or ()
            changed.update({str(name): setting for name, setting in pairs})
        elif key == "seed":
            if value not in (None, _DEFAULT_SEED):
                changed[key] = value
        elif value is not None and key in defaults and _plain(value) != _plain(defaults[key]):
            changed[key] = value
    corpus = changed.get("corpus")
    if isinstance(corpus, list) and len(corpus) == 1:
        changed["corpus"] = corpus[0]
    if list(changed.get("lengths") or ()) == list(settings_module.DEFAULT_LENGTHS):
        del changed["lengths"]
    if _plain(results.settings.get("corpus")) == ["process"]:
        changed.pop("corpus", None)  # the task's own
    return changed


def _defaults(results: Results) -> dict[str, Any]:
    """Defaults of the settings class that has the most of the settings used."""
    best: dict[str, Any] = {}
    for name in _CLASSES.get(results.kind, ()):
        found = getattr(settings_module, name, None)
        if found is not None:
            defaults = {f.name: f.default for f in fields(found) if f.default is not MISSING}
            if len(defaults.keys() & results.settings.keys()) > len(best.keys() & results.settings.keys()):
                best = defaults
    return best


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


def _model_args(arguments: Mapping[str, Any]) -> str:
    simple = all(isinstance(value, (str, int, float, bool)) for value in arguments.values())
    if simple and not any(set(str(value)) & set(",={}") for value in arguments.values()):
        return ",".join(f"{key}={value}" for key, value in arguments.items())
    return json.dumps(dict(arguments), default=str)
