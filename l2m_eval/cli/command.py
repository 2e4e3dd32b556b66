"""What the commands of ``l2m-eval`` share.

A command module has ``add_parser(commands)``, which calls `add_command`, and ``run(parsed) -> int``, which prints
its result on stdout and returns the exit code. What goes wrong is raised as `L2MError`. Heavy packages are imported
inside ``run``, so that ``l2m-eval --help`` takes no time.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

EXIT_CODES = (
    "exit codes: 0 success; of a verdict 0 satisfied, met or not worse, 1 violated, missed or worse, 2 inconclusive; "
    "3 error (one line on stderr)"
)
# Wrapped by hand: argparse would join the lines of an example.
_WIDTH = 100


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` whose usage errors exit with 3: argparse's own 2 means *inconclusive* here."""

    def error(self, message: str) -> NoReturn:
        """Print one line on stderr and exit with code 3."""
        self.exit(3, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    description: str,
    examples: Sequence[str],
) -> Parser:
    """Add a command with what all commands share: examples, exit codes, ``--quiet`` and ``--verbose``.

    Args:
        commands: What `argparse.ArgumentParser.add_subparsers` returned.
        name: The command's name.
        run: Called with the parsed arguments; returns the exit code.
        summary: Its line in ``l2m-eval --help``.
        description: What it does, for ``l2m-eval NAME --help``.
        examples: Command lines that work; shown below the options.

    Returns:
        The parser, for the command's own arguments.
    """
    shown = "\n".join(f"  {example}" for example in examples)
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(description, _WIDTH),
        epilog=f"example{'s' if len(examples) > 1 else ''}:\n{shown}\n\n{textwrap.fill(EXIT_CODES, _WIDTH)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument(
        "-q", "--quiet", action="store_true", help="print only the result, without notes and warnings"
    )
    volume.add_argument(
        "-v", "--verbose", action="store_true", help="report progress; show errors with their traceback"
    )
    parser.set_defaults(run=run)
    return parser


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Python's cycle collector rests, here and when the interpreter ends.

    It would walk again and again over what torch and transformers import: a third of the time of a command of
    seconds, whose own objects are few beside those.
    """
    working = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if working:
            gc.enable()
        atexit.unregister(gc.freeze)
        atexit.register(gc.freeze)
