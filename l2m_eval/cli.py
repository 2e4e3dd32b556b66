"""The command ``l2m-eval``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from l2m_eval import __version__
from l2m_eval.errors import L2MError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; errors are one line on stderr and exit code 3."""
    parser = argparse.ArgumentParser(
        prog="l2m-eval",
        description="Mutual-information scaling of language models. The measurements themselves are tasks of "
        "lm-evaluation-harness: lm_eval run --model hf --model_args pretrained=MODEL --tasks l2m_bipartite",
    )
    parser.add_argument("--version", action="version", version=f"l2m-eval {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tasks = commands.add_parser(
        "tasks",
        help="print the folder of the task files",
        description="Print the folder of the task files, for a harness without the plugin's hook.",
        epilog='example: lm_eval run --include_path "$(l2m-eval tasks)" --tasks l2m_bipartite ...',
    )
    tasks.set_defaults(run=_print_tasks_folder)
    parsed = parser.parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
        return code
    except L2MError as error:
        print(f"l2m-eval: error: {error}", file=sys.stderr)
        return 3


def _print_tasks_folder(_arguments: argparse.Namespace) -> int:
    from l2m_eval.plugin import tasks_folder

    print(tasks_folder())
    return 0


if __name__ == "__main__":
    sys.exit(main())
