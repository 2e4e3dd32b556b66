"""Run one property of `test_properties` under atheris, for as long as wanted.

    pip install atheris
    python tests/fuzz/run.py TARGET [-max_total_time=300] [options of libFuzzer, folders with inputs]

Without a target their names are listed. What is found is written as ``crash-...``, and run again by naming that file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["l2m_eval"]):
    import test_properties as properties


def main() -> None:
    """Fuzz the target named first."""
    targets = {**properties.RAW, **properties.DRAWN}
    if len(sys.argv) < 2 or sys.argv[1] not in targets:
        sys.exit("targets: " + ", ".join(targets))
    name = sys.argv.pop(1)
    check = targets[name]
    if name in properties.DRAWN:
        check = properties.settings(max_examples=1, **properties._QUICK)(check).hypothesis.fuzz_one_input
    given = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if not given:
        seeds = Path(tempfile.mkdtemp(prefix=f"l2m-fuzz-{name}-"))
        for number, seed in enumerate(properties.SEEDS.get(name, [])):
            (seeds / f"seed{number}").write_bytes(seed)
        sys.argv.append(str(seeds))
    atheris.Setup(sys.argv, lambda data: check(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
