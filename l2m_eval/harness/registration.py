"""The only place that touches the harness' registration: task folder, request type, model alias, errors.

`l2m_eval._autoregister` calls `extend_task_manager` and `extend_models` when the harness imports those
modules; `l2m_eval.tasks` calls `register_request_types` when a task of ours is built, so that
``--include_path "$(l2m-eval tasks)"`` works where the hook is switched off.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2m_eval.errors import L2MError
from l2m_eval.harness import newer_releases, older_releases, run_settings
from l2m_eval.harness.guard import NOT_REGISTERED, guarded, warn_once

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

logger = logging.getLogger(__name__)

OLDEST_HARNESS = (0, 4, 10)
REQUEST_TYPE = "l2m_logprobs"
SAMPLING_REQUEST_TYPE = "l2m_samples"
MODEL_ALIASES = {
    "l2m-oracle": "l2m_eval.harness.oracle:OracleLM",
    "l2m-tokenizer": "l2m_eval.harness.tokenizer_only:TokenizerOnlyLM",
}
_NOT_CHECKED = "the settings of l2m tasks are checked only once the model is loaded ({reason})"


def tasks_folder() -> Path:
    """The folder of task YAMLs: inside the wheel, or beside the package in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_tasks"
    return inside.resolve() if inside.is_dir() else package.parent / "tasks"


def check_harness_version(_module: ModuleType) -> None:
    """Warn when the installed harness is older than the oldest one the tasks run on."""
    installed = _harness_version()
    if installed < OLDEST_HARNESS:
        needed = ".".join(map(str, OLDEST_HARNESS))
        found = ".".join(map(str, installed))
        logger.warning(
            "l2m-eval: lm-eval %s is too old for the l2m tasks (needed: %s or newer); they are not registered",
            found,
            needed,
        )


def _release() -> str:
    from importlib.metadata import version

    return version("lm_eval")


def _harness_version() -> tuple[int, ...]:
    return tuple(int(part) for part in _release().split("+")[0].split(".")[:3] if part.isdigit())


def extend_task_manager(module: ModuleType) -> None:
    """Make every `TaskManager` of the harness know our tasks; a user's ``--include_path`` still wins.

    The task folder is put before the user's own paths (later paths override earlier ones), unless the harness
    finds our tasks by their entry point. The settings of our tasks are checked as soon as the harness has matched
    the task names, which is before it loads a model.
    """
    manager = module.TaskManager
    if _harness_version() < OLDEST_HARNESS or manager.__module__ != module.__name__:
        return  # since 0.4.12 `lm_eval.tasks` has the manager of `lm_eval.tasks.manager`
    if "include_path" not in inspect.signature(manager.__init__).parameters:
        warn_once(NOT_REGISTERED, "this lm-eval's TaskManager has no include_path")
        return
    if older_releases.is_older(module):
        older_releases.complete(module)
    else:
        guarded(_tell_our_tasks_their_settings, None, run_settings.NOT_APART)
    _add_our_folder(manager)
    _check_before_the_model(manager)
    show_errors_in_one_line()


def _tell_our_tasks_their_settings() -> None:
    from lm_eval.tasks._factory import TaskFactory

    run_settings.keep_apart_in_factory(TaskFactory, older_releases.is_ours)


def extend_config(module: ModuleType) -> None:
    """Keep the model's arguments apart from the settings in a run of the command line."""
    guarded(
        lambda: run_settings.keep_apart_in_config(module.EvaluatorConfig, warn_of_unread_settings),
        None,
        run_settings.NOT_APART,
    )


def extend_evaluator(module: ModuleType) -> None:
    """Keep the model's arguments apart from the settings in a run from Python."""
    guarded(
        lambda: run_settings.keep_apart_in_evaluate(module, warn_of_unread_settings),
        None,
        run_settings.NOT_APART,
    )


def _add_our_folder(manager: Any) -> None:
    initialize = manager.__init__

    @functools.wraps(initialize)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        extended = guarded(lambda: with_our_folder(initialize, self, args, kwargs), None)
        if extended is None or guarded(lambda: newer_releases.is_untried(_release()), True):
            initialize(self, *args, **kwargs)
            if extended is None or guarded(lambda: has_our_tasks(self), True):
                return
        try:
            initialize(*extended.args, **extended.kwargs)
        except Exception as error:
            initialize(self, *args, **kwargs)  # where this fails too, the error is not ours
            warn_once(NOT_REGISTERED, error)
        else:
            self.include_path = kwargs.get("include_path", args[1] if len(args) > 1 else None)

    manager.__init__ = __init__


def with_our_folder(
    initialize: Any, manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> inspect.BoundArguments | None:
    """The arguments of a new task manager with our folder among its paths; None where there is nothing to add."""
    bound = inspect.signature(initialize).bind(manager, *args, **kwargs)
    bound.apply_defaults()
    if not bound.arguments.get("include_defaults", True):
        return None
    given, ours = bound.arguments["include_path"], tasks_folder()
    paths = [] if not given else list(given) if isinstance(given, (list, tuple)) else [given]
    if any(Path(path).expanduser().resolve() == ours for path in paths):
        return None
    without_folders = object.__new__(type(manager))  # costs nothing: no folder is read
    initialize(without_folders, include_defaults=False)
    if has_our_tasks(without_folders):
        return None
    bound.arguments["include_path"] = [ours, *paths]
    return bound


def has_our_tasks(manager: Any) -> bool:
    """Whether the harness has found our tasks without being told their folder, by their entry point."""
    return any(path.stem in manager.all_tasks for path in tasks_folder().rglob("l2m*.yaml"))


def _check_before_the_model(manager: Any) -> None:
    if not hasattr(manager, "match_tasks"):
        warn_once(_NOT_CHECKED, "this lm-eval's TaskManager has no match_tasks")
        return
    match = manager.match_tasks

    @functools.wraps(match)
    def match_tasks(self: Any, *args: Any, **kwargs: Any) -> list[str]:
        matched: list[str] = match(self, *args, **kwargs)
        guarded(lambda: check_settings(self, matched), None, _NOT_CHECKED, meant=(L2MError,))
        return matched

    manager.match_tasks = match_tasks


def check_settings(manager: Any, names: list[str]) -> None:
    """Check the settings of the named tasks that are ours (groups resolved one level down).

    Raises:
        L2MError: a setting that is not accepted.
    """
    if manager.metadata is None:  # no run: listing and validating tasks bring no settings to check
        return
    ours = _our_tasks(manager, names)
    if ours:
        from l2m_eval.harness.preflight import check_task

        told = run_settings.settings_among(manager.metadata)
        for config in ours.values():
            check_task(_class_name(config), {**(config.get("metadata") or {}), **told})


def warn_of_unread_settings(manager: Any, tasks: list[Any]) -> None:
    """Say which settings of ``--metadata`` are of other tasks than those of the run."""
    ours = _our_tasks(manager, [task for task in tasks if isinstance(task, str)])
    if ours:
        from l2m_eval.settings import unread_settings

        classes = [_class_name(config) for config in ours.values()]
        for name, near in unread_settings(classes, run_settings.settings_among(manager.metadata)).items():
            hint = f", which {'has' if len(ours) == 1 else 'have'} {near}" if near else ""
            logger.warning("l2m-eval: %s is not a setting of %s%s", name, ", ".join(ours), hint)


def _our_tasks(manager: Any, names: list[str]) -> dict[str, dict[str, Any]]:
    """Of the named tasks and of the members of named groups those that are ours, with what their YAML has."""
    ours = {}
    for name in names:
        listed = _config_of(manager, name).get("task")
        for member in listed if isinstance(listed, list) else [name]:
            config = _config_of(manager, member) if isinstance(member, str) else {}
            if _class_name(config).startswith("l2m_eval."):
                ours[member] = config
    return ours


def our_task_files(names: list[str], metadata: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """The class, by name, and the YAML's own settings of each of our tasks, members of groups by their own names.

    Raises:
        L2MError: a name that is no task of ours, or a setting that is not accepted.
    """
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=metadata)
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in names:
        ours = _our_tasks(manager, manager.match_tasks([name]))
        if not ours:
            raise L2MError(f"tasks: {name!r} is not a task of l2m-eval; lm_eval ls tasks lists them")
        for member, config in ours.items():
            kind = _class_name(config).rpartition(".")[2]
            found[member] = kind, dict(config.get("metadata") or {})
    return found


def _class_name(config: Mapping[str, Any]) -> str:
    """The class that a task's YAML names; from 0.4.12 on the index has it behind the YAML's folder."""
    return str(config.get("class", "")).replace("\\", "/").rpartition("/")[2]


def _config_of(manager: Any, name: str) -> dict[str, Any]:
    """A task's or group's configuration as its YAML has it; empty for names that have none."""
    entry = newer_releases.task_index(manager).get(name)
    if entry is None:
        return {}
    return older_releases.config_of(entry) if isinstance(entry, dict) else dict(entry.cfg or {})


def extend_models(_module: ModuleType) -> None:
    """Register our model aliases as the harness registers its own: by name, imported when first used."""
    if _harness_version() < OLDEST_HARNESS:
        return
    from lm_eval.api.registry import model_registry

    for name, target in MODEL_ALIASES.items():
        if name not in model_registry:
            model_registry.register(name, target=target)


def register_request_types() -> None:
    """Give every harness LM the request types of our tasks.

    The harness' `evaluate` calls ``getattr(lm, request_type)(requests)`` for whatever request type the
    instances carry, so one method on the base class reaches every backend.
    """
    from lm_eval.api.model import LM

    def l2m_logprobs(self: Any, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        from l2m_eval.scoring import score_requests

        return score_requests(
            self,
            [request.args[1] for request in requests],
            progress=not disable_tqdm,
            tasks=[request.task_name for request in requests],
        )

    def l2m_samples(self: Any, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        from l2m_eval.scoring.sampling import sample_requests

        return sample_requests(self, [request.args[1] for request in requests])

    for name, method in ((REQUEST_TYPE, l2m_logprobs), (SAMPLING_REQUEST_TYPE, l2m_samples)):
        if not hasattr(LM, name):
            setattr(LM, name, method)


def show_errors_in_one_line() -> None:
    """Print an uncaught `L2MError` as its one line; every other exception is shown as before."""
    previous = sys.excepthook
    if getattr(previous, "shows_l2m_errors", False) or os.environ.get("L2M_EVAL_TRACEBACK") == "1":
        return

    def excepthook(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        if issubclass(kind, L2MError):
            print(f"l2m-eval: error: {error}", file=sys.stderr)
        else:
            previous(kind, error, traceback)

    excepthook.shows_l2m_errors = True  # type: ignore[attr-defined]
    sys.excepthook = excepthook
