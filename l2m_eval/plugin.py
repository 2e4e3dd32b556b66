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

from l2m_eval import older_harness
from l2m_eval.errors import L2MError

if TYPE_CHECKING:
    from types import ModuleType

logger = logging.getLogger(__name__)

OLDEST_HARNESS = (0, 4, 10)
REQUEST_TYPE = "l2m_logprobs"
SAMPLING_REQUEST_TYPE = "l2m_samples"
MODEL_ALIASES = {
    "l2m-oracle": "l2m_eval.processes.oracle:OracleLM",
    "l2m-tokenizer": "l2m_eval.scoring.tokenizer_only:TokenizerOnlyLM",
}


def tasks_folder() -> Path:
    """The folder of task YAMLs: inside the wheel, or beside the package in a source checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "_tasks"
    return inside if inside.is_dir() else package.parent / "tasks"


def warn_not_registered(reason: str) -> None:
    """Say once, in one line, that the harness does not know our tasks, why, and what to do."""
    logger.warning(
        "l2m-eval: the l2m tasks are not registered with lm-eval (%s). "
        'Name their folder instead: --include_path "$(l2m-eval tasks)"',
        reason,
    )


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


def _harness_version() -> tuple[int, ...]:
    from importlib.metadata import version

    release = version("lm_eval").split("+")[0]
    return tuple(int(part) for part in release.split(".")[:3] if part.isdigit())


def extend_task_manager(module: ModuleType) -> None:
    """Make every `TaskManager` of the harness know our tasks; a user's ``--include_path`` still wins.

    The task folder is put before the user's own paths (later paths override earlier ones). The settings of
    our tasks are checked as soon as the harness has matched the task names, which is before it loads a model.
    """
    if _harness_version() < OLDEST_HARNESS or module.TaskManager.__module__ != module.__name__:
        return  # since 0.4.12 `lm_eval.tasks` has the manager of `lm_eval.tasks.manager`
    manager = module.TaskManager
    original_init, original_match = manager.__init__, manager.match_tasks
    signature = inspect.signature(original_init)
    if "include_path" not in signature.parameters:
        warn_not_registered("this lm-eval's TaskManager has no include_path")
        return

    @functools.wraps(original_init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments["include_path"]
        paths = [] if not given else list(given) if isinstance(given, (list, tuple)) else [given]
        ours = tasks_folder()
        already_there = any(Path(path).expanduser().resolve() == ours for path in paths)
        if bound.arguments.get("include_defaults", True) and not already_there:
            bound.arguments["include_path"] = [ours, *paths]
        original_init(*bound.args, **bound.kwargs)
        self.include_path = given

    @functools.wraps(original_match)
    def match_tasks(self: Any, task_list: list[str]) -> list[str]:
        matched: list[str] = original_match(self, task_list)
        if self.metadata is not None:  # a run; listing and validating tasks bring no settings to check
            _check_settings(self, matched)
        return matched

    if older_harness.is_older(module):
        older_harness.complete(module)
    manager.__init__ = __init__
    manager.match_tasks = match_tasks
    show_errors_in_one_line()


def _check_settings(manager: Any, names: list[str]) -> None:
    """Check the settings of the named tasks that are ours (groups resolved one level down)."""
    ours = []
    for name in names:
        listed = _config_of(manager, name).get("task")
        members = listed if isinstance(listed, list) else [name]
        for member in members:
            member_config = _config_of(manager, member) if isinstance(member, str) else {}
            if "l2m_eval" in str(member_config.get("class", "")):
                ours.append(member_config)
    if ours:
        from l2m_eval.preflight import check_task

        for config in ours:
            check_task(config["class"], {**(config.get("metadata") or {}), **(manager.metadata or {})})


def _config_of(manager: Any, name: str) -> dict[str, Any]:
    """A task's or group's configuration as its YAML has it; empty for names that have none."""
    entry = manager.task_index.get(name)
    if entry is None:
        return {}
    return older_harness.config_of(entry) if isinstance(entry, dict) else dict(entry.cfg or {})


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
