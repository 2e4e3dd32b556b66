"""``l2m-eval publish``: headline numbers in the formats that leaderboards, hubs and papers read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from l2m_eval.cli.command import add_command
from l2m_eval.errors import L2MError

_FORMATS = ("hub", "eee", "csv", "markdown", "latex", "model-index")
_RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    parser = add_command(
        commands,
        "publish",
        run,
        summary="headline numbers for the hub, Every Eval Ever, papers",
        description="Write the headline numbers of results with their errors and intervals: hub, entries for "
        ".eval_results/ of a model on the Hugging Face hub; eee, a record of Every Eval Ever; csv, markdown and "
        "latex, tables of one or many models; model-index, the older metadata block of a model card. "
        "docs/leaderboard.md explains each.",
        examples=[
            "l2m-eval publish out --format hub -o my-model/.eval_results/l2m-eval.yaml",
            "l2m-eval publish out --format eee --name me/my-model --organization me --relationship first_party",
            "l2m-eval publish out --format latex",
        ],
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="results files, folders or globs")
    parser.add_argument("--format", required=True, choices=_FORMATS, help="what to write")
    parser.add_argument("-o", "--output", metavar="FILE", help="file to write (default: standard output)")
    parser.add_argument("--model", metavar="LABEL", help="the model, if the results contain several")
    parser.add_argument("--name", metavar="NAME", help="the model's published name, such as OWNER/MODEL")
    parser.add_argument(
        "--dataset",
        metavar="OWNER/NAME",
        help="hub: the dataset's id, if the corpus is not on the hub",
    )
    parser.add_argument("--source", metavar="URL", help="hub: where the results can be seen")
    parser.add_argument(
        "--organization", metavar="NAME", default="not stated", help="eee: the evaluator's organization"
    )
    parser.add_argument(
        "--relationship",
        choices=_RELATIONSHIPS,
        default="other",
        help="eee: the evaluator's relationship to the model's developer",
    )


def run(parsed: argparse.Namespace) -> int:
    """Print what is published, or write it and print its path."""
    from l2m_eval.report.published import Publication, publish
    from l2m_eval.results.load import load_results

    about = Publication(
        parsed.model, parsed.name, parsed.dataset, parsed.source, parsed.organization, parsed.relationship
    )
    content = publish(load_results(parsed.results), parsed.format, about)
    if parsed.output is None:
        print(content, end="")
        return 0
    file = Path(parsed.output)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise L2MError(
            f"output: {parsed.output!r} cannot be written ({error.strerror}); give a file with -o"
        ) from error
    print(file)
    return 0
