"""What lm-eval 0.4.10 and 0.4.11 do not do for task classes of installed packages, and 0.4.12 and later do.

Three things, all of them where these releases read a task's YAML. `l2m_eval.harness.registration` calls
`complete` on their task module; on later releases nothing here runs. Without the hook
(``L2M_EVAL_AUTOREGISTER=0``) our tasks need lm-eval 0.4.12, since nothing can be completed before the YAML is read.
"""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from l2m_eval.harness.guard import guarded
from l2m_eval.harness.run_settings import settings_among

_NOT_COMPLETED = "lm-eval's YAML reader is left as it is ({reason}); the l2m tasks need lm-eval 0.4.12 then"


def is_older(task_module: ModuleType) -> bool:
    """Whether the task manager is of the kind before 0.4.12, which reads its YAML files by `lm_eval.utils`."""
    return hasattr(task_module.TaskManager, "_get_config")


def complete(task_module: ModuleType) -> None:
    """Make ``class: !function l2m_eval...`` importable, and hand such classes the run's settings."""
    from lm_eval import utils

    import_beside_the_yaml = utils.import_function

    @functools.wraps(import_beside_the_yaml)
    def import_function(loader: Any, node: Any, yaml_path: Path) -> Any:
        ours = guarded(lambda: imported_from_here(node), None, _NOT_COMPLETED)
        return import_beside_the_yaml(loader, node, yaml_path) if ours is None else ours

    utils.import_function = import_function

    manager = task_module.TaskManager
    read_config = manager._get_config

    @functools.wraps(read_config)
    def _get_config(self: Any, name: str) -> dict[str, Any]:
        config: dict[str, Any] = read_config(self, name)
        return guarded(lambda: with_metadata(self, config), config, _NOT_COMPLETED)

    manager._get_config = _get_config


def imported_from_here(node: Any) -> Any:
    """The object that a YAML node ``!function l2m_eval...`` names; None for what is not of this package."""
    module_name, _, name = str(node.value).rpartition(".")
    if module_name.split(".")[0] != "l2m_eval":
        return None
    return getattr(importlib.import_module(module_name), name)


def with_metadata(manager: Any, config: dict[str, Any]) -> dict[str, Any]:
    """A task's configuration, with the run's settings where its class is ours."""
    if not is_ours(config.get("class")):
        return config
    return {**config, "metadata": {**(config.get("metadata") or {}), **settings_among(manager.metadata)}}


def config_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an entry of the task index, with its class by name; later releases keep it there."""
    from lm_eval import utils

    if not isinstance(entry.get("yaml_path"), str):  # a tag, or a group made of tasks' own entries
        return {}
    config: dict[str, Any] = utils.load_yaml_config(entry["yaml_path"], mode="simple")
    if "class" in config:
        config["class"] = str(config["class"].value)  # a YAML node: this mode imports nothing
    return config


def is_ours(task_class: Any) -> bool:
    """Whether a class is one of our tasks or derived from one."""
    bases = task_class.__mro__ if isinstance(task_class, type) else ()
    return any(base.__module__.partition(".")[0] == "l2m_eval" for base in bases)
