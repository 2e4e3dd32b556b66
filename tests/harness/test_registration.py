"""Installing is enough: real installs into real environments, each asked by a real `lm_eval`."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import zipapp
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LIST_TASKS = """
from lm_eval.tasks import TaskManager
manager = TaskManager({arguments})
print("\\n".join(name for name in manager.all_tasks if name.startswith("l2m")))
index = manager.task_index if hasattr(manager, "task_index") else manager._task_index  # 0.5
entry = index.get("l2m_bipartite")
print("PATH", entry["yaml_path"] if isinstance(entry, dict) else getattr(entry, "yaml_path", None))
"""


class Environment:
    """A virtual environment that sees this one's libraries but not this one's plugin hook."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.before: set[str] = set()
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
        symlinks=True,
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
    folder = installed.run("-m", "l2m_eval.cli.main", "tasks").stdout.strip()
    listed = installed.tasks(f"include_path={folder!r}", L2M_EVAL_AUTOREGISTER="0")
    assert "l2m_bipartite" in listed


def test_naming_the_folder_beside_the_hook_is_harmless(installed):
    folder = installed.run("-m", "l2m_eval.cli.main", "tasks").stdout.strip()
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
    assert environment.run("-m", "l2m_eval.cli.main", "tasks").returncode == 0


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """An environment with the plugin and nothing else."""
    environment = Environment(tmp_path_factory.mktemp("bare"))
    environment.install(str(wheel))
    (environment.site / "zz_libraries.pth").unlink()
    return environment


def fake_harness(site: Path, version: str, manager: str) -> None:
    """An lm_eval of another version, as far as the hook sees it."""
    for old in site.glob("lm_eval*"):
        shutil.rmtree(old)
    (site / "lm_eval" / "tasks").mkdir(parents=True)
    (site / "lm_eval" / "api").mkdir()
    (site / "lm_eval" / "api" / "registry.py").write_text(
        "class Registry(dict):\n    def register(self, name, target):\n        self[name] = target\n"
        "model_registry = Registry()\n"
    )
    (site / "lm_eval" / "__init__.py").write_text("")
    (site / "lm_eval" / "tasks" / "__init__.py").write_text("from lm_eval.tasks.manager import *\n")
    (site / "lm_eval" / "tasks" / "manager.py").write_text(manager)
    (site / "lm_eval" / "tasks" / "_factory.py").write_text(
        "class TaskFactory:\n    def _load_full_config(self, entry, overrides):\n        return {}\n"
    )
    (site / "lm_eval" / "models").mkdir()
    (site / "lm_eval" / "models" / "__init__.py").write_text("names = ['other']\n")
    info = site / f"lm_eval-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lm_eval\nVersion: {version}\n")


WITHOUT_INCLUDE_PATH = """
class TaskManager:
    def __init__(self, verbosity=None):
        self.all_tasks = ["other"]
    def match_tasks(self, tasks):
        return tasks
"""
RENAMED = WITHOUT_INCLUDE_PATH.replace("TaskManager", "TaskRegistry").replace("match_tasks", "select")
USE = """
import lm_eval.models, lm_eval.tasks as tasks
manager = getattr(tasks, "TaskManager", None) or tasks.TaskRegistry
print(manager().all_tasks, lm_eval.models.names)
"""


@pytest.mark.parametrize(
    ("version", "manager", "says"),
    [
        ("0.4.2", WITHOUT_INCLUDE_PATH, "lm-eval 0.4.2 is too old"),
        ("9.0.0", WITHOUT_INCLUDE_PATH, "TaskManager has no include_path"),
        ("0.6.0", RENAMED, "not registered with lm-eval"),
    ],
)
def test_a_harness_it_does_not_know_warns_once_and_works(bare, version, manager, says):
    fake_harness(bare.site, version, manager)
    done = bare.run("-c", USE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['other'] ['other']\n"
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert version == "0.4.2" or '--include_path "$(l2m-eval tasks)"' in done.stderr


# Each function that the hook calls while the harness is imported, and the search for its modules.
AT_IMPORT = ["check_harness_version", "extend_task_manager", "extend_models", "_wrapped_spec"]


@pytest.mark.parametrize("broken", AT_IMPORT)
def test_what_fails_while_the_harness_is_imported_is_at_most_one_warning(bare, broken):
    fake_harness(bare.site, "0.4.13", WITHOUT_INCLUDE_PATH.replace("None)", "None, include_path=None)"))
    module = "l2m_eval._autoregister" if broken.startswith("_") else "l2m_eval.harness.registration"
    planted = f"import {module} as broken\nbroken.{broken} = lambda *_: 1 / 0\n"
    done = bare.run("-c", planted + USE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['other'] ['other']\n"
    assert "Traceback" not in done.stderr
    assert done.stderr.count("ZeroDivisionError") == (not broken.startswith("_"))


READS_ENTRY_POINTS = """
import importlib, sys
from importlib.metadata import entry_points
from pathlib import Path

class TaskManager:
    def __init__(self, verbosity=None, include_path=None, include_defaults=True, metadata=None):
        self.metadata, self.include_path, self.all_tasks = metadata, include_path, []
        plugins = [importlib.import_module(point.value).__path__[0] for point in entry_points(group="lm_eval.tasks")]
        given = include_path if isinstance(include_path, list) else [include_path] if include_path else []
        for folder in (plugins if {when} else []) + given:
            for file in sorted(Path(folder).rglob("*.yaml")):
                if file.stem in self.all_tasks:
                    print("overrides existing task", file.stem, file=sys.stderr)
                self.all_tasks.append(file.stem)
    def match_tasks(self, tasks):
        return tasks
"""


@pytest.mark.parametrize(
    ("version", "when"),
    [
        ("0.4.13", "True"),  # a checkout of what comes after a release still bears its number
        ("0.6.0", "True"),
        ("0.6.0", "include_defaults"),
        ("0.6.0", "False"),  # a release that is newer than those tried, and reads none
    ],
)
def test_where_the_harness_reads_entry_points_for_tasks_the_hook_stands_down(bare, tmp_path, version, when):
    fake_harness(bare.site, version, READS_ENTRY_POINTS.replace("{when}", when))
    use = "from lm_eval.tasks import TaskManager; print(TaskManager({}).all_tasks.count('l2m_bipartite'))"
    mine = tmp_path / "mine" / "other.yaml"
    mine.parent.mkdir()
    mine.write_text("task: other")
    for arguments in ("", f"include_path={str(mine.parent)!r}"):
        done = bare.run("-c", use.format(arguments))
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_the_entry_point_for_tasks_is_an_importable_folder_of_the_task_files(installed):
    """Whichever way a folder is asked of it: by its path, its file or its resources."""
    ask = (
        "from importlib import import_module, resources; from importlib.metadata import entry_points; "
        "from pathlib import Path; (point,) = entry_points(group='lm_eval.tasks'); "
        "module = import_module(point.value); "
        "folders = {module.__path__[0], str(Path(module.__file__).parent), str(resources.files(point.value))}; "
        "(folder,) = folders; print((Path(folder) / 'l2m.yaml').is_file(), point.load() is module)"
    )
    assert installed.run("-c", ask).stdout == "True True\n"


@pytest.fixture(scope="module")
def editable(tmp_path_factory):
    """An editable install, and the folder of its sources."""
    pytest.importorskip("editables", reason="needed to build an editable install without a network")
    source = tmp_path_factory.mktemp("editable") / "source"
    shutil.copytree(
        REPOSITORY,
        source,
        symlinks=True,
        ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", "out", "dist", "tests", "build"),
    )
    environment = Environment(source.parent / "environment")
    environment.before = environment.files()
    environment.install("-e", str(source))
    return environment, source


def test_an_editable_install_registers_the_source_folder(editable):
    environment, source = editable
    assert environment.tasks()[-2] == f"PATH {source / 'tasks' / 'bipartite' / 'l2m_bipartite.yaml'}"
    # What a later harness reads: importable in a source checkout too.
    ask = "import l2m_eval._tasks as folder; print(folder.__path__[0])"
    assert Path(environment.run("-c", ask).stdout.strip()).resolve() == source / "tasks"


@pytest.mark.parametrize("gone", ["folder", "package", "module"])
def test_an_editable_install_whose_sources_are_gone_is_silent(editable, gone):
    """The line in the .pth file is run at every start of the interpreter."""
    environment, source = editable
    part = {
        "folder": source,
        "package": source / "l2m_eval",
        "module": source / "l2m_eval" / "_autoregister.py",
    }[gone]
    aside = source.parent / "aside"
    part.rename(aside)
    try:
        done = environment.run("-c", "print('fine')")
    finally:
        aside.rename(part)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_an_editable_install_is_uninstalled_without_a_trace(editable):
    environment, _ = editable
    environment.pip("uninstall", "-y", "l2m-eval")
    assert environment.files() == environment.before
    assert environment.tasks()[-2] == "PATH None"


HOOKED = "import sys; print([type(f).__name__ for f in sys.meta_path].count('HarnessFinder'))"


def test_isolated_and_safe_starts_are_served_and_starts_without_site_left_alone(installed):
    for flags, environment in (
        (["-I"], {}),
        (["-P"] if sys.version_info >= (3, 11) else [], {"PYTHONSAFEPATH": "1"}),
    ):
        done = installed.run(*flags, "-c", HOOKED, **environment)
        assert (done.stdout, done.stderr) == ("1\n", "")
    done = installed.run("-S", "-c", HOOKED)
    assert (done.stdout, done.stderr) == ("0\n", "")
    done = installed.run("-c", HOOKED, L2M_EVAL_AUTOREGISTER="0")
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_zipapp_starts_as_without_us(installed, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(HOOKED)
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    done = installed.run(str(tmp_path / "app.pyz"))
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_an_installation_of_the_user_serves_beside_a_virtual_environment(wheel, tmp_path):
    """The plugin in the user's site-packages serves the interpreter; an environment's own copy comes first."""
    base = tmp_path / "base"
    user = base / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    user.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(user)
    settings = {"PYTHONUSERBASE": str(base), "PYTHONPATH": ""}
    system = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not system.exists():
        pytest.skip("the interpreter that the environments are made of is not where one expects it")
    where = HOOKED + "; import l2m_eval; print(l2m_eval.__file__)"

    def hooks(python: Path) -> str:
        done = subprocess.run(
            [str(python), "-c", where],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **settings},
        )
        assert done.stderr == ""
        return done.stdout

    assert hooks(system) == f"1\n{user / 'l2m_eval' / '__init__.py'}\n"
    environment = Environment(tmp_path / "own")
    environment.install(str(wheel))
    done = environment.run("-c", where, **settings)
    assert (done.stdout, done.stderr) == (f"1\n{environment.site / 'l2m_eval' / '__init__.py'}\n", "")


def test_two_versions_in_two_environments_do_not_meet(wheel, installed, tmp_path):
    other = Environment(tmp_path / "other")
    other.install(str(wheel))
    module = other.site / "l2m_eval" / "__init__.py"
    module.write_text(module.read_text().replace('__version__ = "', '__version__ = "99.'))
    ask = "import l2m_eval; print(l2m_eval.__version__)"
    versions = [environment.run("-c", ask).stdout for environment in (installed, other)]
    assert versions[1] == f"99.{versions[0]}"


def test_uninstalling_leaves_nothing_behind(wheel, tmp_path):
    environment = Environment(tmp_path / "gone")
    before = environment.files()
    environment.install(str(wheel))
    assert environment.files() > before
    environment.pip("uninstall", "-y", "l2m-eval")
    assert environment.files() == before
    done = environment.run("-c", "print('fine')")
    assert (done.stdout, done.stderr) == ("fine\n", "")
