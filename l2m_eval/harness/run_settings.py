"""Which of a run's arguments are settings of our tasks: those of ``--metadata``, and what follows from the model.

Every release that was tried (0.4.10 to 0.5.0.dev1) merges the model's arguments into the metadata that tasks are
told, in two places: `EvaluatorConfig`, which the command line makes, and `simple_evaluate` where it is given no
task manager. A model's ``seed`` would be the sample's. Here both keep the two apart, in a `RunMetadata`: what the
harness merged for the tasks of others, and the settings for ours.

Where the hook is switched off (``L2M_EVAL_AUTOREGISTER=0``) nothing here runs, and the harness' merge stands.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from l2m_eval.errors import L2MError
from l2m_eval.harness.guard import guarded

logger = logging.getLogger(__name__)

ORACLE = "l2m-oracle"
NOT_APART = "arguments of the model may be taken for settings of l2m tasks ({reason})"
# What is taken of any model: its name, and how much it reads, for lengths up to that.
_TAKEN_OF_A_MODEL = ("pretrained", "model", "max_length", "max_model_len")


class RunMetadata(dict[str, Any]):
    """A run's metadata as the harness merges it, with the settings of our tasks beside it."""

    def __init__(self, merged: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        super().__init__(merged)
        self.ours = dict(ours)


def settings_among(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """What our tasks are told of a task manager's metadata; all of it where the user made the manager."""
    return dict(metadata.ours if isinstance(metadata, RunMetadata) else metadata or {})


def settings_from_model(model: Any, arguments: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What our tasks take from the model: its name and context, and of ``l2m-oracle`` the process it knows.

    Args:
        model: The harness' ``--model``, or a model that was made already.
        arguments: Its ``--model_args``.
        given: The run's ``--metadata``. Where it names another process, the oracle's is not taken.
    """
    taken = {name: arguments[name] for name in _TAKEN_OF_A_MODEL if arguments.get(name) is not None}
    if not isinstance(model, str) and isinstance(getattr(model, "max_length", None), int):
        taken["max_length"] = model.max_length
    return taken | (_known_process(arguments, given) if model == ORACLE else {})


def _known_process(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The process that ``l2m-oracle`` is made with, and its own parameters; nothing where another is measured."""
    from dataclasses import fields

    from l2m_eval.processes import PROCESSES

    process = arguments.get("process", "santa_fe")
    if not arguments or given.get("process", process) != process:
        return {}
    kind = PROCESSES.get(process) if isinstance(process, str) else None
    own = {field.name for field in fields(kind)} if kind else set()  # type: ignore[arg-type]
    return {"process": process} | {name: value for name, value in arguments.items() if name in own}


def apart(model: Any, arguments: Mapping[str, Any], given: Mapping[str, Any]) -> RunMetadata:
    """The metadata of a run, merged as the harness merges it, with the settings of our tasks."""
    return RunMetadata({**arguments, **given}, {**settings_from_model(model, arguments, given), **given})


def keep_apart_in_config(kind: Any, check_run: Callable[[Any, list[Any]], None]) -> None:
    """Have the harness' `EvaluatorConfig` keep settings and model arguments apart, and look at a run as a whole.

    Args:
        kind: The class.
        check_run: Told the task manager and the names of all tasks, once they are matched.
    """
    merge, process_tasks = kind._process_arguments, kind.process_tasks

    @functools.wraps(merge)
    def _process_arguments(self: Any) -> Any:
        given: dict[str, Any] = guarded(lambda: dict(self.metadata or {}), {}, NOT_APART)
        done = merge(self)
        self.metadata = guarded(lambda: apart(self.model, self.model_args, given), self.metadata, NOT_APART)
        return done

    @functools.wraps(process_tasks)
    def process(self: Any, *args: Any, **kwargs: Any) -> Any:
        manager = process_tasks(self, *args, **kwargs)
        guarded(lambda: check_run(manager, self.tasks), None)
        return manager

    kind._process_arguments, kind.process_tasks = _process_arguments, process


def keep_apart_in_evaluate(module: Any, check_run: Callable[[Any, list[Any]], None]) -> None:
    """Have `simple_evaluate` keep them apart where it is given no task manager, and check the settings first."""
    evaluate = module.simple_evaluate
    signature = inspect.signature(evaluate)

    @functools.wraps(evaluate)
    def simple_evaluate(*args: Any, **kwargs: Any) -> Any:
        manager = guarded(lambda: _manager(args, kwargs), None, NOT_APART, meant=(L2MError,))
        return evaluate(*args, **kwargs, **({} if manager is None else {"task_manager": manager}))

    def _manager(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The task manager that the harness would make; None where there is one, or no task of ours to tell."""
        given = signature.bind(*args, **kwargs).arguments
        if "task_manager" in given or not given.get("tasks"):
            return None
        arguments = given.get("model_args") or {}
        if isinstance(arguments, str):
            from lm_eval.utils import simple_parse_args_string

            arguments = simple_parse_args_string(arguments)
        manager = module.TaskManager(metadata=apart(given["model"], arguments, given.get("metadata") or {}))
        tasks = [given["tasks"]] if isinstance(given["tasks"], str) else list(given["tasks"])
        manager.match_tasks([task for task in tasks if isinstance(task, str)])
        check_run(manager, tasks)
        return manager

    module.simple_evaluate = simple_evaluate


def keep_apart_in_factory(kind: Any, is_ours: Callable[[Any], bool]) -> None:
    """Have the factory of lm-eval 0.4.12 and later tell our tasks their settings alone.

    Args:
        kind: The class `TaskFactory`, which merges a run's metadata into each task's.
        is_ours: Whether a task's class is one of ours.
    """
    load = kind._load_full_config

    @functools.wraps(load)
    def _load_full_config(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        config: dict[str, Any] = load(self, *args, **kwargs)
        return guarded(lambda: again(self, config, args, kwargs), config, NOT_APART)

    def again(factory: Any, config: dict[str, Any], args: Any, kwargs: Any) -> dict[str, Any]:
        if not isinstance(factory._meta, RunMetadata) or not is_ours(config.get("class")):
            return config
        told = copy.copy(factory)
        told._meta = settings_among(factory._meta)
        loaded: dict[str, Any] = load(told, *args, **kwargs)
        return loaded

    kind._load_full_config = _load_full_config
