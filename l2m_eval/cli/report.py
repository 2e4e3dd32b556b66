"""``l2m-eval report``: figures, tables and a page from harness results."""

from __future__ import annotations

import argparse
import logging
import shlex
from pathlib import Path
from typing import Any

from l2m_eval.cli.command import add_command
from l2m_eval.errors import L2MError

logger = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    parser = add_command(
        commands,
        "report",
        run,
        summary="figures, tables and a self-contained page from harness results",
        description="Write report.html (one file, no network), the figures as SVG and PNG, the tables as CSV and "
        "Markdown, and report.json from one or many harness results: any mixture of models and l2m tasks, the newest "
        "of each model, task and corpus. Bands of fits, paired differences and shares of resamples need runs with "
        "--log_samples.",
        examples=[
            "l2m-eval report out -o report",
            "l2m-eval report examples/results -o report --reference books-llama-5m",
            "l2m-eval report out -o report --state llama=models/llama/config.json --draw pg19-llama-3.1-405b-direct",
        ],
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="results files, folders or globs")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="output folder; created if missing"
    )
    parser.add_argument("--title", default="L²M report", help="title of the page")
    parser.add_argument(
        "--all", action="store_true", help="show every run, not only the newest of each model and task"
    )
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        metavar="MODEL=STATE",
        help="history state of a model: its folder, config.json, hub id, or a formula in L such as "
        "'MODEL=3072*min(L, 63)'; may be repeated",
    )
    parser.add_argument(
        "--reference",
        metavar="NAME",
        help="a published law to check states against, or a model to check the others against",
    )
    parser.add_argument(
        "--draw", action="append", default=[], metavar="NAME", help="draw a published law; may be repeated"
    )


def run(parsed: argparse.Namespace) -> int:
    """Write the report and print the page's path."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise L2MError(f"report: {error}; pip install 'l2m-eval[figures]'") from error
    from l2m_eval.report.build import Options, make_report, write_report
    from l2m_eval.results.load import load_results

    if Path(parsed.output).exists() and not Path(parsed.output).is_dir():
        raise L2MError(f"output: {parsed.output!r} is a file; give a folder with -o")
    results = load_results(parsed.results)
    logger.info("%d result(s) read", len(results))
    options = Options(
        title=parsed.title,
        every=parsed.all,
        states=dict(_state(given) for given in parsed.state),
        reference=parsed.reference,
        references=tuple(parsed.draw),
        command=_command(parsed),
    )
    written = write_report(make_report(results, options), parsed.output)
    logger.info("%d files written", len(written))
    print(written[0])
    return 0


def _state(given: str) -> tuple[str, str]:
    label, equals, what = given.partition("=")
    if not equals or not label or not what:
        raise L2MError(
            f"state: {given!r} is not accepted; give MODEL=STATE, the model's label before the sign"
        )
    return label, what


def _command(parsed: argparse.Namespace) -> str:
    parts = ["l2m-eval", "report", *parsed.results, "-o", parsed.output]
    if parsed.title != "L²M report":
        parts += ["--title", parsed.title]
    parts += ["--all"] if parsed.all else []
    for state in parsed.state:
        parts += ["--state", state]
    parts += ["--reference", parsed.reference] if parsed.reference else []
    for name in parsed.draw:
        parts += ["--draw", name]
    return shlex.join(parts)
