"""Installing is enough: real installs into real environments, each asked by a real `lm_eval`."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LIST_TASKS = """
from lm_eval.tasks import TaskManager
manager = TaskManager({arguments})
print("\\n".join(name for name in manager.all_tasks if name.startswith("l2m")))
entry = manager.task_index.get("l2m_bipartite")
print("PATH", entry["yaml_path"] if isinstance(entry, dict) else getattr(entry, "yaml_path", None))
"""


class Environment:
    """A virtual environment that sees this one's libraries but not this one's plugin hook."""

    def __init__(self, folder: Path):
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        self.site = next((folder / "lib").glob("python*")) / "site-packages"
        # A plain path line: the .pth files inside that folder, our own among them, are not run.
        libraries = [path for path in sys.path if path.endswith("site-packages")]
        (self.site / "zz_libraries.pth").write_text("\n".join(libraries) + "\n")

    def pip(self, *arguments: str) -> None:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "--python",
                str(self.python),
                "--disable-pip-version-check",
                *arguments,
            ],
            check=True,
            capture_output=True,
        )

    def install(self, *what: str) -> None:
        self.pip("install", "--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", *what)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.python), *command],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,  # any folder but the repository
            env={**os.environ, "PYTHONPATH": "", **environment},
        )

    def tasks(self, arguments: str = "", **environment: str) -> list[str]:
        done = self.run("-c", LIST_TASKS.format(arguments=arguments), **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")

    def files(self) -> set[str]:
        return {
            str(path.relative_to(self.site))
            for path in self.site.rglob("*")
            if "__pycache__" not in path.parts and path.is_file()
        }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="the build backend is needed to build without a network")
    folder = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source") / "l2m-eval"
    shutil.copytree(
        REPOSITORY,
        source,
        ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.egg-info", "out", "dist"),
    )
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-index",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            folder,
            source,
        ],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    environment = Environment(tmp_path_factory.mktemp("installed"))
    environment.install(str(wheel))
    return environment


def test_the_wheel_is_enough(installed):
    listed = installed.tasks()
    assert {"l2m", "l2m_bipartite", "l2m_bipartite_wikipedia", "l2m_bipartite_text"} <= set(listed)
    assert "site-packages/l2m_eval/_tasks" in listed[-2]


def test_the_command_line_lists_the_tasks_from_any_folder(installed):
    done = installed.run("-m", "lm_eval", "ls", "tasks")
    assert done.returncode == 0, done.stderr
    assert "|l2m_bipartite " in done.stdout


def test_the_harness_validates_every_task(installed):
    names = ",".join(name for name in installed.tasks() if name.startswith("l2m"))
    done = installed.run("-m", "lm_eval", "validate", "--tasks", names)
    assert done.returncode == 0, done.stderr
    assert "All tasks found and valid" in done.stdout


def test_a_task_and_a_model_of_the_wheel_run_from_any_folder(installed):
    done = installed.run(
        "-m", "lm_eval", "run", "--model", "l2m-oracle", "--model_args", "facts=64",
        "--tasks", "l2m_bipartite_process", "--metadata", '{"documents": 20, "lengths": [8, 16, 32]}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "direct_mi_exact@0032" in done.stdout


# The harness' development version goes through the entry points of its groups and leaves names that it has alone.
ENTRY_POINTS = """
from importlib.metadata import entry_points
from lm_eval.api.registry import get_model, model_registry

def load_plugins():
    for point in entry_points(group="lm_eval.models"):
        if point.name not in model_registry:
            model_registry.register(point.name, target=point)

load_plugins()
import lm_eval.models
load_plugins()
print(*(get_model(point.name).__name__ for point in sorted(entry_points(group="lm_eval.models"))))
"""


@pytest.mark.parametrize("hook", ["1", "0"])
def test_entry_points_for_models_serve_beside_the_hook_and_without_it(installed, hook):
    done = installed.run("-c", ENTRY_POINTS, L2M_EVAL_AUTOREGISTER=hook)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "OracleLM TokenizerOnlyLM\n"
    assert "not registered" not in done.stderr


def test_it_can_be_switched_off(installed):
    assert installed.tasks(L2M_EVAL_AUTOREGISTER="0")[-2] == "PATH None"


def test_the_plain_way_works_where_the_hook_is_off(installed):
    folder = installed.run("-m", "l2m_eval.cli", "tasks").stdout.strip()
    listed = installed.tasks(f"include_path={folder!r}", L2M_EVAL_AUTOREGISTER="0")
    assert "l2m_bipartite" in listed


def test_naming_the_folder_beside_the_hook_is_harmless(installed):
    folder = installed.run("-m", "l2m_eval.cli", "tasks").stdout.strip()
    done = installed.run("-c", LIST_TASKS.format(arguments=f"include_path={folder!r}"))
    assert "overrides existing task" not in done.stderr
    assert "l2m_bipartite" in done.stdout


def test_a_users_own_task_of_the_same_name_wins(installed, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "task: l2m_bipartite\nclass: !function l2m_eval.tasks.BipartiteTask\n"
    )
    assert installed.tasks(f"include_path={str(tmp_path)!r}")[-2] == f"PATH {tmp_path / 'mine.yaml'}"


def test_a_manager_without_the_default_tasks_has_not_ours_either(installed):
    assert installed.tasks("include_defaults=False")[-2] == "PATH None"


def test_the_interpreter_starts_without_the_libraries(installed):
    heavy = (
        "import sys; print([m for m in ('torch', 'lm_eval', 'numpy', 'transformers') if m in sys.modules])"
    )
    assert installed.run("-c", heavy).stdout.strip() == "[]"


def test_only_two_small_modules_are_imported_at_start(installed):
    names = "import sys; print(sorted(m for m in sys.modules if m.startswith('l2m_eval')))"
    assert installed.run("-c", names).stdout.strip() == "['l2m_eval', 'l2m_eval._autoregister']"
    done = installed.run("-X", "importtime", "-c", "pass")
    microseconds = [int(line.split("|")[1]) for line in done.stderr.splitlines() if "l2m_eval" in line]
    # Not a timed test: the figure is in benchmarks. This only tells a slip, such as a heavy import, from none.
    assert statistics.fmean(microseconds) < 50_000


def test_without_the_harness_nothing_happens(wheel, tmp_path):
    environment = Environment(tmp_path / "bare")
    environment.install(str(wheel))
    (environment.site / "zz_libraries.pth").unlink()
    done = environment.run("-c", "print('fine')")
    assert (done.stdout, done.stderr) == ("fine\n", "")
    assert environment.run("-m", "l2m_eval.cli", "tasks").returncode == 0


def fake_harness(site: Path, version: str) -> None:
    """An lm_eval of another version, as far as the hook sees it."""
    (site / "lm_eval" / "tasks").mkdir(parents=True)
    (site / "lm_eval" / "__init__.py").write_text("")
    (site / "lm_eval" / "tasks" / "__init__.py").write_text("from lm_eval.tasks.manager import TaskManager\n")
    (site / "lm_eval" / "tasks" / "manager.py").write_text(
        "class TaskManager:\n    def __init__(self, verbosity=None):\n        self.all_tasks = ['other']\n"
        "    def match_tasks(self, tasks):\n        return tasks\n"
    )
    info = site / f"lm_eval-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lm_eval\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("version", "says"), [("0.4.2", "lm-eval 0.4.2 is too old"), ("9.0.0", "TaskManager has no include_path")]
)
def test_a_harness_it_does_not_know_warns_and_works(wheel, tmp_path, version, says):
    environment = Environment(tmp_path / "other")
    environment.install(str(wheel))
    (environment.site / "zz_libraries.pth").unlink()
    fake_harness(environment.site, version)
    done = environment.run("-c", "from lm_eval.tasks import TaskManager; print(TaskManager().all_tasks)")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['other']\n"
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_editable_install_registers_the_source_folder(tmp_path):
    pytest.importorskip("editables", reason="needed to build an editable install without a network")
    source = tmp_path / "source"
    shutil.copytree(
        REPOSITORY,
        source,
        ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", "out", "dist", "tests"),
    )
    environment = Environment(tmp_path / "editable")
    before = environment.files()
    environment.install("-e", str(source))
    assert environment.tasks()[-2] == f"PATH {source / 'tasks' / 'bipartite' / 'l2m_bipartite.yaml'}"
    environment.pip("uninstall", "-y", "l2m-eval")
    assert environment.files() == before
    assert environment.tasks()[-2] == "PATH None"


def test_uninstalling_leaves_nothing_behind(wheel, tmp_path):
    environment = Environment(tmp_path / "gone")
    before = environment.files()
    environment.install(str(wheel))
    assert environment.files() > before
    environment.pip("uninstall", "-y", "l2m-eval")
    assert environment.files() == before
    done = environment.run("-c", "print('fine')")
    assert (done.stdout, done.stderr) == ("fine\n", "")
