"""``l2m-eval compare``: is one model worse than another, and by how much?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from l2m_eval.cli.command import add_command
from l2m_eval.errors import L2MError

if TYPE_CHECKING:
    from l2m_eval.results.difference import Comparison
    from l2m_eval.results.run import Results

# Compared where nothing is asked for: the first of these that both models have.
_DEFAULTS = ("mi", "bits_per_byte", "kl", "beta")


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    parser = add_command(
        commands,
        "compare",
        run,
        summary="the paired difference of two models: not worse, worse, or inconclusive",
        description="Compare the model of results A with that of results B by a headline quantity measured on the "
        "same documents: checkpoints, quantisations, context extensions. With samples logs (--log_samples) "
        "documents are resampled for both at once, so that shared scatter cancels. The exit code is 0 if A is not "
        "worse by more than the margin (by the 95 % interval of the difference), 1 if it is worse, 2 if these "
        "documents do not decide. docs/compare.md explains the output.",
        examples=[
            "l2m-eval compare out/quantised out/original --margin 0.5",
            "l2m-eval compare out/step2000 out/step1000 --quantity beta --margin 0.05 --quantity bits_per_byte",
            "l2m-eval compare out/new out/old --quantity direct_mi@2048 --json",
        ],
    )
    parser.add_argument("first", metavar="A", help="results of the model to judge")
    parser.add_argument("second", metavar="B", help="results of the model to compare it with")
    parser.add_argument(
        "--quantity",
        action="append",
        default=[],
        metavar="NAME",
        help="beta, mi, direct_mi@2048, bits_per_byte, or a metric of the results table; may be repeated "
        "(default: mi, the information at the longest common length)",
    )
    parser.add_argument(
        "--margin",
        action="append",
        type=float,
        default=[],
        metavar="AMOUNT",
        help="by how much A may be worse, in the unit of the quantity (default: 0); one for all or one for each",
    )
    parser.add_argument(
        "--better",
        choices=("higher", "lower"),
        help="the better direction, for a quantity for which the results do not say it",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, schema l2m-eval/comparison/1")


def run(parsed: argparse.Namespace) -> int:
    """Print each comparison; the exit code is the worst of them."""
    from l2m_eval.results.difference import compare_quantity

    first, second = (_of_one_model(given) for given in (parsed.first, parsed.second))
    names = parsed.quantity or [_default(first, second)]
    margins = parsed.margin or [0.0]
    if len(margins) not in (1, len(names)):
        raise L2MError(
            f"margin: {len(margins)} for {len(names)} quantities; give one for all or one for each"
        )
    higher = None if parsed.better is None else parsed.better == "higher"
    found = [
        compare_quantity(first, second, name, margin=margin, higher_is_better=higher)
        for name, margin in zip(names, margins * len(names) if len(margins) == 1 else margins, strict=True)
    ]
    if parsed.json:
        shown = [one.to_json() for one in found]
        print(json.dumps(shown[0] if len(shown) == 1 else shown, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(comparison_text(one) for one in found))
    return next(code for code in (1, 2, 0) if code in {one.exit_code for one in found})


def comparison_text(comparison: Comparison) -> str:
    """The verdict in a sentence, and the numbers under it."""
    a, b, d = comparison.first, comparison.second, comparison.difference
    unit = f" {a.unit}" if a.unit else ""
    names = a.results.run.label, b.results.run.label
    if names[0] == names[1]:
        names = f"A ({names[0]})", f"B ({names[1]})"
    by = f" by more than {comparison.margin:g}{unit}" if comparison.margin else ""
    where = f" {comparison.at}" if comparison.at else ""
    than = f"worse than {names[1]}{by}"
    sentence = {
        "not worse": f"Not worse: {names[0]} is not {than}",
        "worse": f"Worse: {names[0]} is {than}",
        "inconclusive": f"Inconclusive: these documents do not show whether {names[0]} is {than}",
    }[comparison.status]
    rows = [f"{sentence}, in {a.name.partition('@')[0] if comparison.at else a.name}{where}.", ""]
    if not comparison.at:
        rows += [
            f"  {name}: {_number(q.estimate.value, q.estimate.standard_error)}{unit}"
            for name, q in zip(names, (a, b), strict=True)
        ]
    paired = ", paired on the same documents" if comparison.paired else ""
    rows.append(
        f"  difference (A - B): {_number(d.value, d.standard_error)}{unit}, 95 % interval {_ends(d.interval)}{paired}"
    )
    if comparison.status == "inconclusive":
        needed = comparison.documents_needed
        rows.append(
            f"  about {needed:,} documents would decide if the difference stays the same ({a.documents:,} measured)"
            if needed is not None
            else "  the number of documents that would decide is not known; give another --margin"
        )
    rows += [f"  note: {note}" for note in comparison.notes]
    return "\n".join(rows)


def _number(value: float, error: float) -> str:
    from l2m_eval.report.tables import with_error

    return "0" if value == 0 and not error > 0 else with_error(value, error)


def _ends(interval: Sequence[float]) -> str:
    low, high = interval
    return "unknown" if low != low else f"{low:.4g} to {high:.4g}"


def _of_one_model(given: str) -> tuple[Results, ...]:
    from l2m_eval.report.model_card import results_of_one_model
    from l2m_eval.results.load import load_results

    loaded = load_results(given)
    labels = list(dict.fromkeys(one.run.label for one in loaded))
    if len(labels) > 1:
        raise L2MError(f"results: {given!r} holds {', '.join(labels)}; give the results of one model")
    return results_of_one_model(loaded)[1]


def _default(first: Sequence[Results], second: Sequence[Results]) -> str:
    from l2m_eval.results.headline import named_quantity

    for name in _DEFAULTS:
        try:
            named_quantity(first, name)
            named_quantity(second, name)
        except L2MError:
            continue
        return name
    raise L2MError(
        "quantity: the two models have none of mi, bits_per_byte, kl, beta in common; give --quantity"
    )
