"""The token budget of a batch: as many as memory allows, found while scoring."""

from __future__ import annotations

import contextlib
import logging
import math
from pathlib import Path
from typing import Any

import torch

from l2m_eval.errors import L2MError

logger = logging.getLogger(__name__)

# Beyond this many tokens in a batch a CPU gains nothing (docs/performance.md).
CPU_TOKENS = 8192
# Share of the free memory that a batch may be expected to take.
_SHARE = 0.7
_CGROUPS = Path("/sys/fs/cgroup")


class TokenBudget:
    """Tokens of a batch, padding included.

    Args:
        device: Where the model runs.
        tokens: To begin with.
        fixed: Never more than that (a batch size was given); only running out of memory changes it.
    """

    def __init__(self, device: torch.device, tokens: int, fixed: bool):
        self.tokens = tokens
        self._device = device
        self._limit = tokens if fixed else max(tokens, CPU_TOKENS) if device.type == "cpu" else 2**30
        self._used_before = self._free_before = 0

    def before_batch(self) -> None:
        if self.tokens < self._limit:
            self._used_before, self._free_before = _used_and_free(self._device)
            _reset_peak(self._device)

    def after_batch(self, tokens: int) -> None:
        """Double if a batch that filled the budget shows that memory has room for twice as much."""
        if self.tokens >= self._limit or 2 * tokens < self.tokens:
            return
        needed = (_peak(self._device) - self._used_before) * self.tokens / tokens
        if 2 * needed <= _SHARE * self._free_before:
            self.tokens = min(2 * self.tokens, self._limit)
        else:
            self._limit = self.tokens

    def out_of_memory(self, batch: int, longest: int) -> None:
        """Half as much from now on.

        Raises:
            L2MError: the batch was a single window.
        """
        if batch == 1:
            raise L2MError(
                f"model: no memory for a single window of {longest} tokens; give shorter lengths, or load the model "
                "in a smaller dtype or on more devices (parallelize=True)"
            )
        self.tokens = self._limit = max(min(self.tokens, batch * longest) // 2, longest)
        logger.warning("l2m-eval: out of memory, batches of at most %d tokens from here on", self.tokens)
        if self._device.type != "cpu":
            _device_module(self._device).empty_cache()


# How the libraries below torch say it: allocators of CPU, CUDA and MPS, and cuBLAS for its workspace.
_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        phrase in str(error) for phrase in _OUT_OF_MEMORY
    )


def _device_module(device: torch.device) -> Any:
    return torch.get_device_module(device)


def _used_and_free(device: torch.device) -> tuple[int, int]:
    """Bytes in use by this process, and bytes that it may still take."""
    if device.type == "cpu":
        import psutil  # type: ignore[import-untyped]

        free = min(psutil.virtual_memory().available, left_by_the_container())
        return psutil.Process().memory_info().rss, int(free)
    module = _device_module(device)
    if not hasattr(module, "mem_get_info"):
        return 0, 0  # nothing is known, so nothing grows
    used = module.memory_allocated(device)
    return used, module.mem_get_info(device)[0] + module.memory_reserved(device) - used


def left_by_the_container(groups: Path = Path("/proc/self/cgroup"), root: Path = _CGROUPS) -> float:
    """Bytes that the process' control group, and every one above it, may still take: inf where none is limited.

    A container sees the memory of its host, and is killed without an error at its own limit. Files in the cache that
    nobody uses count as free. Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (v1 likewise).
    """
    with contextlib.suppress(OSError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                top, names = root, ("memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                top = root / "memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            else:
                continue
            folder = top / path.strip("/")
            above = [parent for parent in folder.parents if parent.is_relative_to(top)]
            return min(_left_in_group(group, *names) for group in (folder, *above))
    return math.inf


def _left_in_group(group: Path, limit: str, used: str, unused_files: str) -> float:
    try:
        most = float((group / limit).read_text().strip().replace("max", "inf"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return most - float((group / used).read_text()) + float(stat.get(unused_files, 0))
    except (OSError, ValueError):
        return math.inf  # the group has no such files, as the topmost one has none


def _reset_peak(device: torch.device) -> None:
    if device.type != "cpu":
        if hasattr(_device_module(device), "reset_peak_memory_stats"):
            _device_module(device).reset_peak_memory_stats(device)
        return
    # Linux: the peak of resident memory starts anew. Elsewhere it is that of the whole run, so that batches that
    # were cheap look dear and grow less.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int:
    if device.type != "cpu":
        module = _device_module(device)
        return int(module.max_memory_allocated(device)) if hasattr(module, "max_memory_allocated") else 0
    return peak_resident_bytes()


def peak_resident_bytes() -> int:
    """The most resident memory of this process so far, bytes.

    `getrusage` says the same of a process that has not been started by a larger one: on Linux its figure outlives
    the `exec` and is then that of the parent.
    """
    import resource
    import sys

    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
