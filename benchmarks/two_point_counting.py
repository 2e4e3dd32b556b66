"""Speed and memory of counting token pairs, beside `collections.Counter` in the same run.

    python benchmarks/two_point_counting.py
    python benchmarks/two_point_counting.py --tokens 1000000 10000000 100000000 --processes 2

First the speed: pairs at distances 1 and 64 of Zipf-distributed tokens, counted in memory by a dictionary, by
sorting, and by sorting with 32 groups of documents left out in turn; medians over repetitions. Then the memory: a
corpus of each size is written to disk and its whole two-point curve (13 distances, null, errors) estimated in a
process of its own, which reports its own peak (with several processes: the largest among them as well).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

DOCUMENT = 100_000  # tokens, about a book


def zipf_documents(tokens: int, vocabulary: int, seed: int = 0) -> Iterator[Any]:
    import numpy as np

    rng = np.random.default_rng(seed)
    edges = np.cumsum(1 / np.arange(1, vocabulary + 1))
    edges /= edges[-1]
    for start in range(0, tokens, DOCUMENT):
        yield np.searchsorted(edges, rng.random(min(DOCUMENT, tokens - start))).astype(np.uint32)


def measure_speed(tokens: int, vocabulary: int, repetitions: int) -> dict[str, Any]:
    """Median seconds for the pairs at both distances."""
    from collections import Counter

    import numpy as np

    from l2m_eval.estimators.two_point.pair_counts import count_pairs
    from l2m_eval.estimators.two_point.token_sequences import TokenSequences

    distances = (1, 64)
    sequences = TokenSequences.from_documents(zipf_documents(tokens, vocabulary))
    group = np.arange(len(sequences.lengths)) % 32
    load = np.bincount(sequences.tokens, minlength=vocabulary)
    lists = [d.tolist() for d in np.split(sequences.tokens, sequences.offsets[1:-1])]

    def dictionary() -> list[dict[int, int]]:
        found = []
        for distance in distances:
            tally: Counter[tuple[int, int]] = Counter()
            for document in lists:
                tally.update(zip(document[:-distance], document[distance:], strict=True))
            found.append(dict(Counter(tally.values())))
        return found

    def sorting() -> list[dict[int, int]]:
        counted = count_pairs(sequences, distances, load)
        return [dict(zip(c.counts.tolist(), c.multiplicities.tolist(), strict=True)) for c in counted]

    if dictionary() != sorting():
        raise SystemExit("the two ways do not count the same")
    seconds: dict[str, list[float]] = {"dictionary": [], "sorting": [], "sorting with 32 groups": []}
    for _ in range(repetitions):
        for name, count in (
            ("dictionary", dictionary),
            ("sorting", sorting),
            ("sorting with 32 groups", lambda: count_pairs(sequences, distances, load, group=group)),
        ):
            start = perf_counter()
            count()
            seconds[name].append(perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}


def measure_memory(folder: str, memory_gb: float, processes: int) -> dict[str, Any]:
    from l2m_eval.estimators.two_point.curve import two_point_mutual_information
    from l2m_eval.estimators.two_point.estimation import PairEstimation
    from l2m_eval.estimators.two_point.token_sequences import TokenSequences

    start = perf_counter()
    curve = two_point_mutual_information(
        TokenSequences.open(folder), settings=PairEstimation(memory_gb=memory_gb, processes=processes)
    )
    own, workers = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes here
    return {
        "seconds": perf_counter() - start,
        "peak": own * unit,
        "peak_of_workers": workers * unit,
        "mi": curve.mi[0],
        "error": curve.standard_error[0],
    }


def write(tokens: int, vocabulary: int, folder: str) -> None:
    from l2m_eval.estimators.two_point.token_sequences import write_token_sequences

    write_token_sequences(zipf_documents(tokens, vocabulary), folder)


def in_a_process_of_its_own(function: str, *arguments: Any) -> Any:
    """This process stays small: the peak that Linux reports for another includes its parent's at the start."""
    command = [sys.executable, __file__, "--run", json.dumps([function, *arguments])]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[10**6, 10**7, 10**8], help="sizes of the corpora"
    )
    parser.add_argument(
        "--speed-tokens", type=int, default=2 * 10**6, help="size for the comparison of speed"
    )
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--memory-gb", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.run:
        function, *arguments = json.loads(settings.run)
        print(json.dumps(globals()[function](*arguments)))
        return

    seconds = in_a_process_of_its_own(
        "measure_speed", settings.speed_tokens, settings.vocabulary, settings.repetitions
    )
    print(f"{settings.speed_tokens:,} tokens, vocabulary {settings.vocabulary:,}, in memory, one process")
    for name, value in seconds.items():
        rate = 2 * settings.speed_tokens / value
        print(f"  {name:24s} {rate / 1e6:8.2f} million pairs/s   x {seconds['dictionary'] / value:6.1f}")

    print(f"whole curve from disk, memory_gb {settings.memory_gb:g}, {settings.processes} process(es)")
    for tokens in settings.tokens:
        with tempfile.TemporaryDirectory() as folder:
            in_a_process_of_its_own("write", tokens, settings.vocabulary, folder)
            size = (Path(folder) / "tokens.u32").stat().st_size
            found = in_a_process_of_its_own("measure_memory", folder, settings.memory_gb, settings.processes)
        peaks = f"{found['peak'] / 1e6:6.0f} MB"
        if settings.processes > 1:
            peaks += f" + {settings.processes} x at most {found['peak_of_workers'] / 1e6:.0f} MB"
        print(
            f"  {tokens:13,} tokens ({size / 1e6:6.0f} MB)  {found['seconds']:7.1f} s"
            f"  {tokens / found['seconds'] / 1e6:6.2f} million tokens/s  peak {peaks}"
            f"   I(1) = {found['mi']:.5f} +- {found['error']:.5f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
