"""Installing this package never breaks what someone else runs: whatever of ours fails, their numbers are theirs."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from l2m_eval.harness import guard
from l2m_eval.harness.registration import tasks_folder

ANSWERS = runpy.run_path(str(Path(__file__).with_name("foreign_run.py")))["ANSWERS"]
RIGHT = {
    "foreign_yaml": ANSWERS.count("short") / len(ANSWERS),
    "foreign_python": ANSWERS.count("longer one") / len(ANSWERS),
}
# Every function of ours that runs inside a call of the harness' own task manager.
INSIDE = [
    "l2m_eval.harness.registration:with_our_folder",
    "l2m_eval.harness.registration:tasks_folder",
    "l2m_eval.harness.registration:has_our_tasks",
    "l2m_eval.harness.newer_releases:is_untried",
    "l2m_eval.harness.registration:check_settings",
    "l2m_eval.harness.registration:_config_of",
    "l2m_eval.harness.newer_releases:task_index",
    "l2m_eval.harness.older_releases:imported_from_here",
    "l2m_eval.harness.older_releases:with_metadata",
    "l2m_eval.harness.older_releases:config_of",
    "l2m_eval.harness.registration:warn_of_unread_settings",
    "l2m_eval.harness.run_settings:apart",
    "l2m_eval.harness.run_settings:settings_among",
]


def run(folder: Path, cases: dict, before: str = "", **environment: str) -> dict:
    """What `foreign_run` finds in a process of its own, after the statements `before`."""
    script = Path(__file__).with_name("foreign_run.py")
    program = f"import sys\n{before}\nimport runpy\nrunpy.run_path({str(script)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), json.dumps(cases)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def corrupt(tmp_path_factory):
    """Our task files with one that is not YAML."""
    folder = tmp_path_factory.mktemp("corrupt") / "tasks"
    shutil.copytree(tasks_folder(), folder)
    (folder / "bipartite" / "l2m_bipartite_text.yaml").write_text("task: [l2m_bipartite_text\n  : {")
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory, corrupt):
    cases = {"nothing": {}, "corrupt YAML": {"folder": str(corrupt)}}
    cases |= {part: {"raising": [part]} for part in INSIDE}
    cases["everything"] = {"raising": INSIDE}
    return run(tmp_path_factory.mktemp("foreign"), cases)


@pytest.mark.parametrize("case", ["nothing", "corrupt YAML", "everything", *INSIDE])
def test_tasks_of_other_people_give_their_numbers_whatever_of_ours_raises(found, case):
    assert found[case]["numbers"] == RIGHT


@pytest.mark.parametrize("part", INSIDE)
def test_an_error_of_ours_is_at_most_one_line_for_each_thing_that_is_missing_then(found, part):
    lines = found[part]["warnings"]
    assert len(lines) <= 1, lines
    assert all("planted" in line and "\n" not in line for line in lines)


def test_what_is_missing_is_said(found):
    assert found["nothing"] == {"numbers": RIGHT, "warnings": [], "ours": True}
    (line,) = found["l2m_eval.harness.registration:tasks_folder"]["warnings"]
    assert "not registered" in line
    assert "--include_path" in line
    (line,) = found["l2m_eval.harness.registration:check_settings"]["warnings"]
    assert "checked only once the model is loaded" in line


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("l2m_eval.settings", None),  # as where numpy is too old for it: only our own tasks need it
        ("l2m_eval.harness.registration", "not registered"),
    ],
)
def test_what_cannot_be_imported_is_missing_only_where_it_is_needed(tmp_path, missing, says):
    before = f"sys.modules[{missing!r}] = None"
    one = run(tmp_path, {"nothing": {}}, before)["nothing"]
    assert one["numbers"] == RIGHT
    assert one["ours"] == (says is None)


def test_guarded_gives_what_the_harness_has_without_us(caplog):
    guard._said.clear()
    assert guard.guarded(lambda: 1, 2) == 1
    assert guard.guarded(lambda: 1 // 0, 2) == 2
    assert guard.guarded(lambda: 1 // 0, 2) == 2
    assert caplog.text.count("ZeroDivisionError") == 1  # each line once
    with pytest.raises(ZeroDivisionError):
        guard.guarded(lambda: 1 // 0, 2, meant=(ZeroDivisionError,))
