"""Real runs of the harness: its command line in a process of its own, its results read back from disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Run:
    """A finished `lm_eval run`."""

    code: int
    stdout: str
    stderr: str
    output: Path

    @property
    def results(self) -> dict[str, Any]:
        return json.loads(next(self.output.rglob("results_*.json")).read_text())

    def metrics(self, task: str) -> dict[str, float]:
        return {
            key.removesuffix(",none"): value
            for key, value in self.results["results"][task].items()
            if key.endswith(",none")
        }

    def samples(self, task: str) -> list[dict[str, Any]]:
        path = next(self.output.rglob(f"samples_{task}_*.jsonl"))
        return [json.loads(line) for line in path.read_text().splitlines()]

    @property
    def error(self) -> str:
        """The last line of stderr: what a user sees of a failure."""
        return self.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="session")
def lm_eval(tmp_path_factory):
    """Run `lm_eval run` with these arguments in a fresh process."""

    def run(*arguments: str, metadata: dict[str, Any] | None = None, **environment: str) -> Run:
        output = tmp_path_factory.mktemp("run")
        command = [sys.executable, "-m", "lm_eval", "run", *arguments, "--output_path", str(output)]
        if metadata is not None:
            command += ["--metadata", json.dumps(metadata)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=output,
            check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **environment},
        )
        return Run(done.returncode, done.stdout, done.stderr, output)

    return run
