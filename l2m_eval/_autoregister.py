"""What the ``.pth`` file imports at interpreter start: a hook that waits until the harness is imported.

lm-eval looks for tasks in its own folder and in ``--include_path`` only. So that installing the
plugin is enough, this module puts a finder on `sys.meta_path` that lets the harness' modules load as they
are and then calls `l2m_eval.harness.registration` on them. Nothing is imported here but what the interpreter
has already loaded, and nothing at all happens when ``L2M_EVAL_AUTOREGISTER=0`` or when lm-eval is never imported.

Whatever fails here is this package's affair: one warning says so, and the harness loads as though it were not there.
"""

import os
import sys

_EXTENSIONS = {
    "lm_eval": "check_harness_version",
    "lm_eval.tasks": "extend_task_manager",  # holds the manager up to 0.4.11
    "lm_eval.tasks.manager": "extend_task_manager",
    "lm_eval.models": "extend_models",
    "lm_eval.config.evaluate_config": "extend_config",
    "lm_eval.evaluator": "extend_evaluator",
}
_failed: list = []  # the first failure of a process is told, not each


class _ExtendingLoader:
    """Runs a module's own loader, then hands the finished module to a function of `harness.registration`."""

    def __init__(self, loader, extension):  # type: ignore[no-untyped-def]
        self._loader = loader
        self._extension = extension

    def __getattr__(self, name):  # type: ignore[no-untyped-def]
        if name == "_loader":  # asked for before there is one, as `copy` does
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec):  # type: ignore[no-untyped-def]
        return self._loader.create_module(spec)

    def exec_module(self, module):  # type: ignore[no-untyped-def]
        # From here on the module is the harness' own again: tools that ask for its loader get the real one.
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _extend(module, self._extension)


def _extend(module, extension):  # type: ignore[no-untyped-def]
    """Call a function of `harness.registration` on a module of the harness; a failure is one warning."""
    try:
        from l2m_eval.harness import guard, registration
    except Exception as error:
        if not _failed:
            _failed.append(error)
            import logging

            logging.getLogger("l2m_eval").warning(
                "l2m-eval: the l2m tasks are not registered with lm-eval, since l2m-eval cannot be imported (%s: %s)",
                type(error).__name__,
                error,
            )
        return
    guard.guarded(lambda: getattr(registration, extension)(module), None)


class HarnessFinder:
    """Finds the harness' modules named in `_EXTENSIONS` by the other finders and wraps their loaders."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name not in _EXTENSIONS:
            return None
        try:
            return _wrapped_spec(name, path, target)
        except Exception:
            return None  # the other finders are asked again, and say what is wrong


def _wrapped_spec(name, path, target):  # type: ignore[no-untyped-def]
    for finder in sys.meta_path:
        if isinstance(finder, HarnessFinder) or not hasattr(finder, "find_spec"):
            continue
        spec = finder.find_spec(name, path, target)
        if spec is not None:
            if hasattr(spec.loader, "exec_module"):
                spec.loader = _ExtendingLoader(spec.loader, _EXTENSIONS[name])  # type: ignore[assignment]
            return spec
    return None


def install() -> None:
    """Put the finder in place, once, unless it is switched off."""
    if os.environ.get("L2M_EVAL_AUTOREGISTER", "1") != "0" and not any(
        isinstance(finder, HarnessFinder) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, HarnessFinder())


install()
