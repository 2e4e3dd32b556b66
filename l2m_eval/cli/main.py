"""The command ``l2m-eval``: arguments in, one of the modules of `l2m_eval.cli` runs, exit code out."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import textwrap
import traceback
from collections.abc import Sequence

from l2m_eval import __version__
from l2m_eval.cli import (
    check,
    compare,
    leaderboard,
    model_card,
    plan,
    publish,
    release,
    report,
    reproduce,
    state,
    tasks,
)
from l2m_eval.cli.command import EXIT_CODES, Parser
from l2m_eval.errors import L2MError

# Each has add_parser(commands); see `l2m_eval.cli.command`. In the order of --help.
COMMANDS = (state, plan, check, compare, publish, release, leaderboard, report, model_card, reproduce, tasks)

DESCRIPTION = """\
Mutual-information scaling of language models. The measurements themselves are tasks of lm-evaluation-harness:
  lm_eval run --model hf --model_args pretrained=MODEL --tasks l2m_bipartite --output_path out
The commands here read its results, or models."""


def build_parser() -> Parser:
    """The parser with all commands; tools that write shell completions (shtab, argcomplete) take it as it is."""
    parser = Parser(
        prog="l2m-eval",
        description=DESCRIPTION,
        epilog="l2m-eval COMMAND --help shows options and examples.\n" + textwrap.fill(EXIT_CODES, 100),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"l2m-eval {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; errors are one line on stderr and exit code 3."""
    parsed = build_parser().parse_args(arguments)
    level = logging.ERROR if parsed.quiet else logging.INFO if parsed.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()
        return code
    except L2MError as error:
        if parsed.verbose or os.environ.get("L2M_EVAL_TRACEBACK") == "1":
            traceback.print_exc()
        print(f"l2m-eval: error: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:  # the reader, for example head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception:  # a fault of ours; Python's own exit code for it would read as "violated"
        traceback.print_exc()
        print("l2m-eval: error: unexpected error, see above; please report it", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
