"""What the ``.pth`` file imports at interpreter start: a hook that waits for the harness to be imported.

lm-eval looks for tasks in its own folder and in ``--include_path`` only. So that installing the
plugin is enough, this module puts a finder on `sys.meta_path` that lets the harness' modules load as they
are and then calls `l2m_eval.plugin` on them. Nothing is imported here but what the interpreter has already
loaded, and nothing at all happens when ``L2M_EVAL_AUTOREGISTER=0`` or when lm-eval is never imported.
"""

import os
import sys

_EXTENSIONS = {
    "lm_eval": "check_harness_version",
    "lm_eval.tasks": "extend_task_manager",  # holds the manager up to 0.4.11
    "lm_eval.tasks.manager": "extend_task_manager",
    "lm_eval.models": "extend_models",
}


class _ExtendingLoader:
    """Runs a module's own loader, then hands the finished module to one function of `l2m_eval.plugin`."""

    def __init__(self, loader, extension):  # type: ignore[no-untyped-def]
        self._loader = loader
        self._extension = extension

    def __getattr__(self, name):  # type: ignore[no-untyped-def]
        return getattr(self._loader, name)

    def create_module(self, spec):  # type: ignore[no-untyped-def]
        return self._loader.create_module(spec)

    def exec_module(self, module):  # type: ignore[no-untyped-def]
        # From here on the module is the harness' own again: tools that ask for its loader get the real one.
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        from l2m_eval import plugin

        try:
            getattr(plugin, self._extension)(module)
        except Exception as error:  # a harness that changed must keep working without the plugin
            plugin.warn_not_registered(f"{type(error).__name__}: {error}")


class HarnessFinder:
    """Finds the harness' modules named in `_EXTENSIONS` by the other finders and wraps their loaders."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name not in _EXTENSIONS:
            return None
        for finder in sys.meta_path:
            if isinstance(finder, HarnessFinder) or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
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
