"""Several processes measure together what one process measures: a real group of processes, on CPUs."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("distributed_run.py")


def numbers(found, path=""):
    """All numbers in nested lists and dicts, by where they stand."""
    if isinstance(found, dict):
        return {k: v for key in found for k, v in numbers(found[key], f"{path}/{key}").items()}
    if isinstance(found, list):
        return {k: v for i, item in enumerate(found) for k, v in numbers(item, f"{path}/{i}").items()}
    return {path: float(found)} if isinstance(found, (int, float)) else {}


SETTINGS = {
    # Partners are measured by the other process.
    "l2m_bipartite_text": {"lengths": [8, 16, 32, 64], "resamples": 100},
    "l2m_position_nll_text": {"length": 64, "resamples": 100},
}


@pytest.mark.parametrize(
    "task", [*SETTINGS][:1] + [pytest.param(t, marks=pytest.mark.slow) for t in [*SETTINGS][1:]]
)
def test_two_processes_give_the_numbers_of_one(tiny_llama, text_folder, tmp_path, task):
    """Seven documents, which two processes do not share evenly."""
    metadata = {"corpus": f"{text_folder}/*.txt", "documents": 7, **SETTINGS[task]}
    found = {}
    for processes in (1, 2):
        output = tmp_path / f"{processes}.json"
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        done = subprocess.run(
            [
                sys.executable,
                *(launch if processes > 1 else []),
                *(str(SCRIPT), str(tiny_llama), task, json.dumps(metadata), str(output)),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found[processes] = json.loads(output.read_text())
        assert found[processes]["processes"] == processes
    one, two = found[1], found[2]
    assert sorted(two["samples"]) == one["samples"] == list(range(7))
    for part in ("metrics", "block"):
        alone, together = numbers(one[part]), numbers(two[part])
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            if math.isfinite(value):
                # Other batches, so other rounding in float32, of sums of up to a hundred nats.
                assert together[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name
