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


@dataclass
class Evaluation:
    """What `simple_evaluate` gave for one task, in this process."""

    metrics: dict[str, float]
    block: dict[str, Any]
    samples: list[dict[str, Any]]


@pytest.fixture(scope="session")
def evaluate():
    """Run one task through the harness' Python entry, in this process: no start-up for every case.

    The harness knows our tasks alone there: reading thousands of its own takes it five seconds each time.
    """
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from l2m_eval.harness.registration import tasks_folder

    def run(model: Any, task: str, limit: int | None = None, **metadata: Any) -> Evaluation:
        answer = simple_evaluate(
            model=model,
            tasks=[task],
            task_manager=TaskManager(
                include_path=str(tasks_folder()), include_defaults=False, metadata=metadata
            ),
            limit=limit,
            metadata=metadata,
            bootstrap_iters=0,
            log_samples=True,
        )
        return Evaluation(
            {
                key.removesuffix(",none"): value
                for key, value in answer["results"][task].items()
                if isinstance(value, float)  # "N/A" is the harness' word for no standard error
            },
            answer["configs"][task]["l2m"],
            answer["samples"][task],
        )

    return run


@pytest.fixture(scope="session")
def refusal():
    """What a run with these settings is refused with before a model is loaded, in this process.

    The command line asks the task manager for its tasks before it loads a model; our hook checks them there.
    """
    from lm_eval.tasks import TaskManager

    from l2m_eval.errors import L2MError
    from l2m_eval.harness.registration import tasks_folder

    def refuse(task: str, **metadata: Any) -> str:
        manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=metadata)
        with pytest.raises(L2MError) as refused:
            manager.match_tasks([task])
        return str(refused.value)

    return refuse
