"""``l2m-eval tasks``: where the task files are."""

from __future__ import annotations

import argparse
from typing import Any

from l2m_eval.cli.command import add_command


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    add_command(
        commands,
        "tasks",
        run,
        summary="print the folder of the task files",
        description="Print the folder of the task files, for a harness without the plugin's hook.",
        examples=[
            'lm_eval run --include_path "$(l2m-eval tasks)" --model hf --model_args pretrained=MODEL '
            "--tasks l2m_bipartite"
        ],
    )


def run(_parsed: argparse.Namespace) -> int:
    """Print the folder."""
    from l2m_eval.harness.registration import tasks_folder

    print(tasks_folder())
    return 0
