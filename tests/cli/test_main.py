"""The command ``l2m-eval``: its help, exit codes, and errors in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from l2m_eval.cli import main as cli
from l2m_eval.errors import L2MError

COMMANDS = [module.__name__.rpartition(".")[2].replace("_", "-") for module in cli.COMMANDS]


def run(capsys, *arguments):
    """Exit code, stdout and stderr of the command in this process."""
    try:
        code = cli.main(list(arguments))
    except SystemExit as done:
        code = done.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_lists_the_commands_and_the_exit_codes(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)
    assert "1 violated, missed or worse, 2 inconclusive; 3 error" in " ".join(out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(capsys, command):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert "example" in out
    assert "exit codes: 0 success" in out
    assert "--quiet" in out
    assert "--verbose" in out


@pytest.mark.parametrize("arguments", [[], ["nope"], ["tasks", "--nope"], ["tasks", "-q", "-v"]])
def test_a_wrong_usage_is_one_line_and_no_verdict(capsys, arguments):
    code, out, err = run(capsys, *arguments)
    assert code == 3  # argparse's own 2 would read as inconclusive
    assert out == ""
    assert err.count("\n") == 1
    assert "--help" in err


def test_an_error_is_one_line_and_with_verbose_its_traceback_too(capsys, monkeypatch):
    def fail(_parsed):
        raise L2MError("corpus: none given; give one")

    monkeypatch.setattr("l2m_eval.cli.tasks.run", fail)
    code, out, err = run(capsys, "tasks")
    assert (code, out, err) == (3, "", "l2m-eval: error: corpus: none given; give one\n")
    _, _, err = run(capsys, "tasks", "--verbose")
    assert "Traceback" in err
    assert err.endswith("l2m-eval: error: corpus: none given; give one\n")


def test_a_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -m l2m_eval.cli.main tasks"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"], capture_output=True, check=False
    )
    assert done.stderr == b""


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom l2m_eval.cli import main as cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'lm_eval', 'datasets', 'matplotlib', 'scipy', 'numpy'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")


def test_completions_can_be_written_from_the_parser():
    """What shtab and argcomplete need: one function that builds the parser with all commands in it."""
    choices = next(action.choices for action in cli.build_parser()._actions if action.dest == "command")
    assert set(choices) == set(COMMANDS)
