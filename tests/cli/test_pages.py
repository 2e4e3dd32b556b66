"""The pages on decisions, followed literally: their commands run, and print what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from l2m_eval.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
WORST = {"leaderboard.md": 0, "release.md": 0}  # the highest exit code that a command of the page ends with


@pytest.fixture
def beside_the_examples(tmp_path, monkeypatch):
    """A folder with the examples in it, in which commands may write."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def commands(name):
    """The commands of ours in the shell blocks of a page, lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", page(name), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("l2m-eval ")]


def test_the_example_of_the_page_on_comparisons_is_what_the_command_prints(capsys, beside_the_examples):
    command, printed = re.search(
        r"```\n\$ l2m-eval (.*?[^\\])\n(.*?)```", page("compare.md"), re.DOTALL
    ).groups()
    assert main(shlex.split(command.replace("\\\n", " "))) == 1
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("name", WORST)
def test_the_commands_of_a_page_run(name, beside_the_examples, capsys):
    found = commands(name)
    assert found
    codes = [main(arguments) for arguments in found]
    assert max(codes) == WORST[name]
