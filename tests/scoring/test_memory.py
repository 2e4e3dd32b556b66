"""What memory a batch may count on: in a container no more than the container has left."""

import math

import pytest
import torch

from l2m_eval.scoring import memory
from l2m_eval.scoring.memory import left_by_the_container


def group(folder, limit, used, inactive, names):
    *names, inactive_files = names
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(names, (limit, used, f"anon 5\n{inactive_files} {inactive}"), strict=True):
        (folder / name).write_text(f"{content}\n")


V2 = ("memory.max", "memory.current", "memory.stat", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file")


def test_the_tightest_of_the_groups_above_decides(tmp_path):
    groups = tmp_path / "cgroup"
    groups.write_text("0::/pod/run\n")
    root = tmp_path / "fs"
    group(root / "pod" / "run", "max", 700, 0, V2)
    group(root / "pod", 1000, 800, 50, V2)
    assert left_by_the_container(groups, root) == 1000 - 800 + 50
    group(root / "pod" / "run", 750, 700, 0, V2)
    assert left_by_the_container(groups, root) == 50


def test_the_older_control_groups_are_read_too(tmp_path):
    groups = tmp_path / "cgroup"
    groups.write_text("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n")
    group(tmp_path / "fs" / "memory" / "docker" / "abc", 4096, 1024, 24, V1)
    assert left_by_the_container(groups, tmp_path / "fs") == 4096 - 1024 + 24


@pytest.mark.parametrize("content", [None, "", "0::/nowhere\n"])
def test_without_a_limit_it_is_not_limited(tmp_path, content):
    if content is not None:
        (tmp_path / "cgroup").write_text(content)
    assert left_by_the_container(tmp_path / "cgroup", tmp_path) == math.inf


def test_the_free_memory_of_the_cpu_is_what_the_container_leaves(monkeypatch):
    monkeypatch.setattr(memory, "left_by_the_container", lambda: 123.0)
    used, free = memory._used_and_free(torch.device("cpu"))
    assert free == 123
    assert used > 10**6  # this process, with torch in it
