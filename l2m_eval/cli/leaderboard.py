"""``l2m-eval leaderboard``: a static page that ranks models by one number."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from l2m_eval.cli.command import add_command


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    parser = add_command(
        commands,
        "leaderboard",
        run,
        summary="a static page that ranks models by one number, from a folder of results",
        description="Rank models by a headline number. Each entry is checked first: its curves are computed anew "
        "from its samples log, and what differs has no place. Ties are by paired intervals; entries that were "
        "measured on other documents or with other settings stand in tables of their own, with the reason. Writes "
        "index.html (one file, no network), leaderboard.json, and tables/ as CSV and Markdown. "
        "docs/leaderboard.md goes through it.",
        examples=[
            "l2m-eval leaderboard submissions -o board --quantity effective_context",
            "l2m-eval leaderboard submissions -o board --quantity bits_per_byte --title 'Books'",
        ],
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="results files, folders or globs")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="output folder; created if missing"
    )
    parser.add_argument(
        "--quantity",
        default="mi",
        metavar="NAME",
        help="the number by which models are ranked: mi, beta, bits_per_byte ... (default: mi)",
    )
    parser.add_argument("--title", default="L²M leaderboard", help="title of the page")


def run(parsed: argparse.Namespace) -> int:
    """Write the leaderboard and print the page's path."""
    from l2m_eval.report.build import write_report
    from l2m_eval.report.leaderboard import make_leaderboard
    from l2m_eval.results.load import load_results

    parts = ["l2m-eval", "leaderboard", *parsed.results, "-o", parsed.output, "--quantity", parsed.quantity]
    parts += ["--title", parsed.title] if parsed.title != "L²M leaderboard" else []
    board = make_leaderboard(
        load_results(parsed.results), parsed.quantity, title=parsed.title, command=shlex.join(parts)
    )
    print(write_report(board, parsed.output)[0])
    return 0
