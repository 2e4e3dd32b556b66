"""``l2m-eval release``: does a model meet a written policy?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from l2m_eval.cli.command import add_command
from l2m_eval.errors import L2MError


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    parser = add_command(
        commands,
        "release",
        run,
        summary="a release checklist: each requirement of a policy is met, missed, or inconclusive",
        description="Judge the results of a model by a policy, a YAML file of named requirements: numbers at least "
        "or at most, not worse than a reference by more than a margin, the L²M check, a loss that never rises, "
        "results not older than the weights. Each is met where the whole 95 % interval meets it, missed where none "
        "of it does, and inconclusive in between. The exit code is 0 where all are met, 1 where one is missed, 2 "
        "where one is inconclusive. docs/release.md goes through it; examples/policy.yaml has every requirement.",
        examples=[
            "l2m-eval release --policy policy.yaml out/new --reference out/old",
            "l2m-eval release --policy policy.yaml out/new --markdown summary.md --junit release.xml",
        ],
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="results of the model to be released")
    parser.add_argument("--policy", required=True, metavar="FILE", help="the policy, YAML")
    parser.add_argument(
        "--model", metavar="LABEL", help="the model to judge, if the results are of several models"
    )
    parser.add_argument(
        "--reference", metavar="RESULTS", help="results of the model to compare with (default: the policy's)"
    )
    parser.add_argument("--markdown", metavar="FILE", help="write what is printed, for a pull request")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML, for CI")
    parser.add_argument("--json", metavar="FILE", help="write JSON, schema l2m-eval/release/1")


def run(parsed: argparse.Namespace) -> int:
    """Print the checklist, write the files, and return the exit code of the worst requirement."""
    from l2m_eval.report.model_card import results_of_one_model
    from l2m_eval.report.release import release_json, release_junit, release_markdown
    from l2m_eval.results.load import load_results
    from l2m_eval.results.policy import exit_code, judge, read_policy

    policy = read_policy(parsed.policy)
    named = parsed.reference or policy.reference
    if policy.needs_reference and not named:
        raise L2MError(
            "reference: the policy compares with one; give --reference RESULTS, or 'reference:' in the policy"
        )
    label, results = results_of_one_model(load_results(parsed.results), parsed.model)
    reference = results_of_one_model(load_results(named))[1] if named and policy.needs_reference else ()
    outcomes = judge(policy, results, reference)
    print(release_markdown(label, outcomes), end="")
    formats = {"markdown": release_markdown, "junit": release_junit, "json": release_json}
    for option, write in formats.items():
        file = getattr(parsed, option)
        if file is None:
            continue
        try:
            Path(file).write_text(write(label, outcomes), encoding="utf-8")
        except OSError as error:
            raise L2MError(f"{option}: {file!r} cannot be written ({error.strerror}); give a file") from error
    return exit_code(outcomes)
