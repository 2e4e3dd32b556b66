"""What l2m_context_use costs beside the forward passes that it cannot do without.

    python benchmarks/context_use_cost.py MODEL 'books/*.txt'
    python benchmarks/context_use_cost.py MODEL 'books/*.txt' --memory

The same windows twice: as a run of the task hands them to the model (text, tokens, scoring, records), and as bare
forward passes over their token ids in equal batches, log-softmax left out. The two are alternated and the fastest of
each counts, so that what else the machine does falls on both.

With --memory: the most memory that a process holds (the kernel's VmHWM) for all contexts, beside that of the loss of
as many tokens as the longest context and the block together have, each in a process of its own. CPU only.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from l2m_eval.corpus.chunks import draw_sample
from l2m_eval.measurements.context_use import ContextUseRequest
from l2m_eval.measurements.position import PositionRequest
from l2m_eval.scoring import score_requests
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.scoring.memory import peak_resident_bytes
from l2m_eval.settings import ContextUseSettings, PositionSettings, read_settings

TASKS = ("l2m_context_use", "l2m_position_nll")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("corpus")
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--contexts", default="16:1024")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--memory-of", choices=TASKS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    if given.memory:
        compare_memory()
        return
    settings = read_settings(
        ContextUseSettings,
        {"corpus": given.corpus, "documents": given.documents, "contexts": given.contexts},
    )
    if given.memory_of:
        print(json.dumps(memory_of(given.memory_of, given, settings)))
        return
    lm = HFLM(pretrained=given.model, dtype="float32", device=given.device, batch_size=given.batch_size)
    sample = draw_sample(settings, settings.longest, 1234, pairing="none")
    requests = [ContextUseRequest(settings, chunk) for chunk in sample.chunks]
    encoder = Encoder(lm)
    windows = [window for request in requests for window in request.plan(encoder).windows]
    by_length: dict[int, list[torch.Tensor]] = {}
    for window in windows:
        ids = torch.tensor([*window.context.tolist(), *window.target.tolist()])
        by_length.setdefault(len(ids), []).append(ids)
    batches = [
        torch.stack(rows[start : start + given.batch_size]).to(given.device)
        for rows in by_length.values()
        for start in range(0, len(rows), given.batch_size)
    ]

    def task() -> None:
        score_requests(lm, requests, progress=False)

    def bare() -> None:
        with torch.no_grad():
            for batch in batches:
                lm.model(batch, use_cache=False)

    task()  # the check of the head against the plain forward, once per model
    seconds: dict[str, list[float]] = {"bare": [], "task": []}
    for _ in range(given.repeats):
        for name, run in (("bare", bare), ("task", task)):
            if given.device.startswith("cuda"):
                torch.cuda.synchronize()
            started = time.perf_counter()
            run()
            if given.device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    tokens = sum(map(len, windows))
    fastest = {name: min(values) for name, values in seconds.items()}
    print(
        f"{len(windows)} windows, {tokens:,} tokens: bare forward passes {fastest['bare']:.2f} s, "
        f"l2m_context_use {fastest['task']:.2f} s, ratio {fastest['task'] / fastest['bare']:.3f}"
    )


def compare_memory() -> None:
    """Each task in a process of its own, which reports its own peak."""
    found = {}
    arguments = [one for one in sys.argv[1:] if one != "--memory"]
    for task in TASKS:
        command = [sys.executable, __file__, *arguments, "--memory-of", task]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[task] = json.loads(printed.splitlines()[-1])
    for task, one in found.items():
        peak, before = one["peak"] / 2**20, one["before"] / 2**20
        print(f"{task}: peak {peak:,.0f} MiB, {peak - before:,.0f} above what it had before scoring")
    ours, loss = (found[task]["peak"] for task in TASKS)
    print(f"windows of up to {found[TASKS[0]]['longest']:,} tokens; ratio of the peaks {ours / loss:.3f}")


def memory_of(task: str, given: argparse.Namespace, settings: ContextUseSettings) -> dict[str, Any]:
    """The peak of this process, bytes: of all contexts, or of the loss of the longest context and the block."""
    lm = HFLM(pretrained=given.model, dtype="float32", device="cpu", batch_size=given.batch_size)
    chunks = draw_sample(settings, settings.longest, 1234, pairing="none").chunks
    requests: list[Any] = [ContextUseRequest(settings, chunk) for chunk in chunks]
    if task == "l2m_position_nll":
        told = {"corpus": given.corpus, "documents": given.documents, "length": settings.longest}
        requests = [PositionRequest(read_settings(PositionSettings, told), chunk) for chunk in chunks]
    encoder = Encoder(lm)
    longest = max(len(window) for request in requests for window in request.plan(encoder).windows)
    before = peak_resident_bytes()
    score_requests(lm, requests, progress=False)
    return {"before": before, "peak": peak_resident_bytes(), "longest": longest}


if __name__ == "__main__":
    main()
