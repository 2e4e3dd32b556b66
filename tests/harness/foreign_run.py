"""Tasks of other people, run by the harness with parts of ours broken on purpose.

    python foreign_run.py FOLDER CASES

FOLDER gets two tasks, one in YAML and one in Python. CASES is JSON: by name, which functions of ours raise
(``module:function``) and optionally where our task files are. Prints, by case, the two numbers and our warnings.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from pathlib import Path
from unittest.mock import patch

import l2m_eval._autoregister  # noqa: F401  # as the .pth file does

CHOICE = """\
task: foreign_yaml
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/documents.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: '{{{{question}}}}'
doc_to_choice: ['short', 'longer one']
doc_to_target: '{{{{answer}}}}'
metric_list: [{{metric: acc}}]
"""
IN_PYTHON = """\
task: foreign_python
class: !function foreign.Foreign
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/documents.jsonl}}}}
test_split: test
output_type: loglikelihood
doc_to_text: '{{{{question}}}}'
doc_to_target: '{{{{answer}}}}'
metric_list: [{{metric: acc}}]
"""
FOREIGN = """\
try:
    from lm_eval.api.task import LoglikelihoodTask as Base
except ImportError:
    from lm_eval.api.task import ConfigurableTask as Base


class Foreign(Base):
    def __init__(self, config=None):
        super().__init__(config={key: value for key, value in config.items() if key != "class"})
"""
# The shorter choice is the likelier one, and right for three documents of five; one answer alone is greedy.
ANSWERS = ["short", "short", "longer one", "short", "longer one"]


def write_tasks(folder: Path) -> None:
    lines = [json.dumps({"question": f"Number {n}?", "answer": answer}) for n, answer in enumerate(ANSWERS)]
    (folder / "documents.jsonl").write_text("\n".join(lines))
    (folder / "foreign_yaml.yaml").write_text(CHOICE.format(folder=folder))
    (folder / "foreign_python.yaml").write_text(IN_PYTHON.format(folder=folder))
    (folder / "foreign.py").write_text(FOREIGN)


class Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.addFilter(lambda record: record.getMessage().startswith("l2m-eval: "))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def planted(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError("planted")


def main(folder: Path, cases: dict[str, dict]) -> None:
    write_tasks(folder)
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class ShorterIsLikelier(LM):
        def loglikelihood(self, requests):
            return [(-float(len(r.args[1])), "longer" in r.args[1]) for r in requests]

        loglikelihood_rolling = generate_until = None

    # The harness' own tasks take seconds to find each time; here it has none.
    (folder / "none").mkdir()
    sys.modules[TaskManager.__module__].__file__ = str(folder / "none" / "manager.py")

    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    found = {}
    for name, case in cases.items():
        warnings.lines.clear()
        importlib.import_module("l2m_eval.harness.guard")._said.clear()
        broken = [part.split(":") for part in case.get("raising", [])]
        patches = [
            patch.object(importlib.import_module(module), function, planted) for module, function in broken
        ]
        if "folder" in case:
            registration = importlib.import_module("l2m_eval.harness.registration")
            patches.append(
                patch.object(registration, "tasks_folder", lambda folder=case["folder"]: Path(folder))
            )
        for one in patches:
            one.start()
        manager = TaskManager(include_path=str(folder), metadata={})
        matched = manager.match_tasks(["foreign_*"])
        ours = "l2m_bipartite" in manager.all_tasks
        answer = simple_evaluate(ShorterIsLikelier(), tasks=matched, task_manager=manager, bootstrap_iters=0)
        for one in patches:
            one.stop()
        numbers = {task: answer["results"][task]["acc,none"] for task in matched}
        found[name] = {"numbers": numbers, "warnings": list(warnings.lines), "ours": ours}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
