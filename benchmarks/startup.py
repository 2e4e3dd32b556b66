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
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def start(environment: dict[str, str]) -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True, env={**os.environ, **environment})
    return 1000 * (time.perf_counter() - before)


def hook_time() -> float:
    """Milliseconds that the line in the .pth file takes in a fresh interpreter, which has run no .pth file yet."""
    script = (
        f"import sys, time; sys.path.insert(0, {str(REPOSITORY)!r}); before = time.perf_counter(); "
        "import l2m_eval._autoregister; print(1000 * (time.perf_counter() - before))"
    )
    return float(subprocess.run([sys.executable, "-S", "-c", script], check=True, capture_output=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=60)
    repetitions = parser.parse_args().repetitions
    imports = [hook_time() for _ in range(repetitions)]
    pairs = [(start({}), start({"L2M_EVAL_AUTOREGISTER": "0"})) for _ in range(repetitions)]
    on, off = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"the line in the .pth file    {statistics.median(imports):6.2f} ms (median of {repetitions})")
    print(f"interpreter start, hook on   {on:6.2f} ms")
    print(f"interpreter start, switched off {off:6.2f} ms   ratio {on / off:.3f}")


if __name__ == "__main__":
    main()
