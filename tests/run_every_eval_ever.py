"""The command of Every Eval Ever for tests: it needs other releases than ours, so an environment of its own.

python3.12 -m venv ENVIRONMENT && ENVIRONMENT/bin/pip install every_eval_ever
EVERY_EVAL_EVER=ENVIRONMENT/bin/every_eval_ever make test
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_PATHS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def every_eval_ever(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The outcome of the command named by EVERY_EVAL_EVER, or of the one on the path; skips without either."""
    command = os.environ.get("EVERY_EVAL_EVER") or shutil.which("every_eval_ever", path=_PATHS)
    if not command:
        pytest.skip("every_eval_ever is not installed (tests/run_every_eval_ever.py)")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [command, *map(str, arguments)], capture_output=True, text=True, env=environment, check=False
    )
