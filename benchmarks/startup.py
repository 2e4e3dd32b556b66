"""What the plugin's hook adds to the start of every interpreter, in one run beside the same start without it.

python benchmarks/startup.py [--repetitions 60]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time


def start(environment: dict[str, str]) -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True, env={**os.environ, **environment})
    return 1000 * (time.perf_counter() - before)


def own_import_time() -> float:
    """Milliseconds that the interpreter itself counts for the plugin's modules."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "pass"], check=True, capture_output=True, text=True
    )
    lines = [line.split("|") for line in done.stderr.splitlines() if "l2m_eval" in line]
    return sum(int(line[0].split(":")[1]) for line in lines) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=60)
    repetitions = parser.parse_args().repetitions
    imports = [own_import_time() for _ in range(repetitions)]
    pairs = [(start({}), start({"L2M_EVAL_AUTOREGISTER": "0"})) for _ in range(repetitions)]
    on, off = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"import of the hook            {statistics.median(imports):6.2f} ms (median of {repetitions})")
    print(f"interpreter start, hook on    {on:6.2f} ms")
    print(f"interpreter start, hook off   {off:6.2f} ms   ratio {on / off:.3f}")


if __name__ == "__main__":
    main()
