"""Copy harness results without what they say of the machine, small enough to be kept beside the code.

    python examples/strip_results.py out examples/results

What is kept is listed here; everything else (environment, paths of task files, copies of each answer) is dropped.
No number is changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

KEPT = (
    "results", "config", "date", "model_source", "model_name", "max_length", "task_hashes", "n-samples",
    "lm_eval_version", "transformers_version", "chat_template", "system_instruction", "total_evaluation_time_seconds",
)  # fmt: skip
KEPT_OF_A_TASK = ("task", "output_type", "l2m")
KEPT_OF_A_SAMPLE = ("doc_id", "doc", "filtered_resps", "doc_hash")
TEXT = "begins"  # of a document: where it is from says enough


def stripped(data: dict[str, Any]) -> dict[str, Any]:
    """A results file with the keys above alone."""
    configs = {
        task: {key: config[key] for key in KEPT_OF_A_TASK if key in config}
        for task, config in data["configs"].items()
    }
    return {**{key: data[key] for key in KEPT if key in data}, "configs": configs}


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    # A model without a name gets a folder with a random one.
    names = {
        file.parent: str(data["config"]["model_args"].get("pretrained") or data["model_source"])
        for file in source.rglob("results_*.json")
        for data in [json.loads(file.read_text())]
    }
    for file in sorted(source.rglob("*.json*")):
        place = target / file.parent.parent.relative_to(source) / names[file.parent] / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".json":
            text = json.dumps(stripped(json.loads(file.read_text())), indent=1, ensure_ascii=False) + "\n"
        else:
            samples = [json.loads(line) for line in file.read_text().splitlines()]
            for sample in samples:
                sample["doc"].pop(TEXT, None)
            text = "".join(
                json.dumps({key: sample[key] for key in KEPT_OF_A_SAMPLE}, ensure_ascii=False) + "\n"
                for sample in samples
            )
        place.write_text(text, encoding="utf-8")
        print(place, f"{len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
