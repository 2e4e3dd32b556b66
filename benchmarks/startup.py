"""What the plugin's hook adds to the start of every interpreter, in one run beside the same start without it.

python benchmarks/startup.py [--repetitions 60]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys


def start(skipped: str) -> float:
    """Milliseconds of processor time of an interpreter's start that leaves out the .pth files of that name.

    Switching the hook off by its environment variable is no start without it: the line is run and imports the
    package all the same.
    """
    script = (
        "import site; original = site.addpackage\n"
        f"site.addpackage = lambda d, name, k: None if {skipped!r} in name else original(d, name, k)\n"
        "site.main()"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-S", "-c", script], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measure_start(repetitions: int) -> dict[str, float]:
    """Medians, in milliseconds: what the line adds, a start with it and a start without it."""
    pairs = [(start("no file has this name"), start("l2m_eval.pth")) for _ in range(repetitions)]
    return {
        "added": statistics.median(present - absent for present, absent in pairs),
        "with": statistics.median(present for present, _ in pairs),
        "without": statistics.median(absent for _, absent in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=60)
    repetitions = parser.parse_args().repetitions
    found = measure_start(repetitions)
    print(f"the line in the .pth file  {found['added']:6.2f} ms (processor time, median of {repetitions})")
    print(f"interpreter start with it  {found['with']:6.2f} ms")
    print(
        f"interpreter start without  {found['without']:6.2f} ms   ratio {found['with'] / found['without']:.3f}"
    )


if __name__ == "__main__":
    main()
