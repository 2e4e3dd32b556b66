"""``l2m-eval check``: does the history state carry the mutual information that was measured?"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from l2m_eval.cli.command import add_command
from l2m_eval.cli.state import lengths_of
from l2m_eval.cli.text import aligned
from l2m_eval.errors import L2MError

if TYPE_CHECKING:
    from l2m_eval.condition.verdict import Verdict
    from l2m_eval.history_state import HistoryState
    from l2m_eval.results.check import Check, Reference
    from l2m_eval.results.run import Results

logger = logging.getLogger(__name__)

SCHEMA = "l2m-eval/checks/1"
# The state at lengths that no curve asks for: only the growth between them is looked at.
STATE_LENGTHS = [2**k for k in range(1, 21)]


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    parser = add_command(
        commands,
        "check",
        run,
        summary="the L²M condition on saved results: can the state carry the measured information?",
        description="Check saved results of l2m_bipartite or l2m_condition against the L²M condition: the growth of "
        "the model's history state against β (Theorem 5.4), the length at which the data's law fills the state "
        "(Theorem 5.2), and, against the results of a reference, whether the model keeps up (MI-capability, "
        "Definition 5.3). The state is counted from the model named in the results, or as given with --state. "
        "Several results are checked one by one, and the exit code is the worst. docs/check.md explains the output.",
        examples=[
            "l2m-eval check out/MODEL",
            "l2m-eval check out/small --reference out/strong --json",
            "l2m-eval check out/api-model --state '2*32*8*128*L' --reference pg19-llama-3.1-405b-direct",
            "l2m-eval check --state path/to/mamba --reference pg19-llama-3.1-405b-direct",
            "l2m-eval check out/small out/medium out/large --series 2048,8192,32768",
        ],
    )
    parser.add_argument(
        "results",
        nargs="*",
        metavar="RESULTS",
        help="results files, folders or globs; optional with --state and --reference",
    )
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        metavar="[NAME=]STATE",
        help="history state instead of the model's own: a folder, config.json, hub id, formula in L, or a file that "
        "declares one; one for each result in their order, or by the model's NAME; may be repeated",
    )
    parser.add_argument(
        "--reference",
        metavar="RESULTS|NAME",
        help="the law that the state is judged by: results of a stronger model, the name of a model among RESULTS, "
        "or a published law (pg19-llama-3.1-405b-direct, pg19-llama-3.1-405b-vclub)",
    )
    parser.add_argument(
        "--curve", default="direct", help="the curve to check: direct, vclub, direct_r3 ... (default: direct)"
    )
    parser.add_argument(
        "--constant",
        type=float,
        metavar="NATS",
        help="a calibrated constant: nats that an element passes on, instead of ln 2 for each of its bits",
    )
    parser.add_argument(
        "--series",
        metavar="L,L,...",
        help="check a series of models (Theorem 5.6): the intended length of each, in their order",
    )
    parser.add_argument(
        "--unit",
        choices=("auto", "tokens", "bytes"),
        default="auto",
        help="match lengths with those of the reference in tokens or bytes (default: bytes where the tokenizers "
        "differ)",
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON, schema {SCHEMA}")
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="allow an architecture whose code comes with the model",
    )


def run(parsed: argparse.Namespace) -> int:
    """Print the verdicts; the exit code is the worst of them."""
    try:
        checks = _checks(parsed)
    except L2MError as error:
        if parsed.json:
            from l2m_eval.condition.verdict import Verdict

            print(json.dumps(checks_json([], Verdict.of_error(error)), indent=2, ensure_ascii=False))
        raise
    if parsed.json:
        print(json.dumps(checks_json(checks), indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(check_text(check, notes=not parsed.quiet) for check in checks))
    return worst(checks)


def worst(checks: Sequence[Check]) -> int:
    """The exit code of several verdicts: the worst of them decides."""
    codes = {check.verdict.exit_code for check in checks}
    return next(code for code in (3, 1, 2, 0) if code in codes)


def checks_json(checks: Sequence[Check], failure: Verdict | None = None) -> dict[str, Any]:
    """Schema ``l2m-eval/checks/1``: the overall status, and each check with what it is about."""
    from l2m_eval.condition.verdict import EXIT_CODES

    code = failure.exit_code if failure is not None else worst(checks)
    return {
        "schema": SCHEMA,
        "status": next(status for status, number in EXIT_CODES.items() if number == code),
        "exit_code": code,
        "checks": [failure.to_json()] if failure is not None else [check.to_json() for check in checks],
    }


# --- what is checked --------------------------------------------------------------------------------------------


def _checks(parsed: argparse.Namespace) -> list[Check]:
    from l2m_eval.condition.verdict import Verdict
    from l2m_eval.results.check import Check, check_results, measured_state_for, reference_named
    from l2m_eval.results.comparable import distinct_curves
    from l2m_eval.results.load import load_results

    if parsed.constant is not None and not (parsed.constant > 0 and math.isfinite(parsed.constant)):
        raise L2MError(
            f"constant: {parsed.constant:g} is not a capacity; give nats per element, a positive number"
        )
    found: list[Results] = []
    loaded: Sequence[Results] = ()
    if parsed.results:
        loaded = load_results(parsed.results)
        found = list(distinct_curves(loaded))
        if not found:
            raise L2MError(
                f"results: {', '.join(sorted({one.task for one in loaded}))} in {str(loaded[0].run.path)!r} has no "
                "bipartite curve; give results of l2m_bipartite or l2m_condition"
            )
        left_out = len(loaded) - len(found) - sum(one.state is not None for one in loaded)
        if left_out > 0:
            logger.info(
                "l2m-eval: %d results without a bipartite curve, or older ones, left out",
                left_out,
            )
    elif not (parsed.state and parsed.reference):
        raise L2MError("results: none given; give RESULTS, or both --state and --reference")
    reference = reference_named(parsed.reference, found, parsed.curve) if parsed.reference else None
    if not found:
        return _without_results(parsed, reference)
    states = _given_states(parsed, found)
    if parsed.series:
        return [_series(parsed, found, states, reference)]
    checks: list[Check] = []
    for one in found:
        try:
            checks += check_results(
                one,
                state=states.get(one),
                reference=reference,
                curve=parsed.curve,
                nats_per_element=parsed.constant,
                unit=parsed.unit,
                trust_remote_code=parsed.trust_remote_code,
                measured=measured_state_for(one, loaded),
            )
        except L2MError as error:
            if len(found) == 1:
                raise
            # The others are worth knowing; the exit code says that not all could be checked.
            checks.append(Check(Verdict.of_error(error), one.run.label, str(one.run.path), parsed.curve, ""))
    return checks


def _given_states(parsed: argparse.Namespace, found: Sequence[Results]) -> dict[Results, HistoryState]:
    """States named with --state, by the results they are for."""
    from l2m_eval.results.check import state_of

    labels = {one.run.label for one in found}
    named: dict[str, str] = {}
    in_order: list[str] = []
    for given in parsed.state:
        name, equals, state = given.partition("=")
        if equals and name in labels:
            named[name] = state
        else:
            in_order.append(given)
    unnamed = [one for one in found if one.run.label not in named]
    if in_order and len(in_order) != len(unnamed):
        models = ", ".join(one.run.label for one in unnamed) or "none is left"
        raise L2MError(
            f"state: {len(in_order)} given for {len(unnamed)} result(s) ({models}); give one for each in their "
            "order, or NAME=STATE"
        )
    wanted = dict(zip(unnamed, in_order, strict=False)) | {
        one: named[one.run.label] for one in found if one.run.label in named
    }
    return {
        one: state_of(one, parsed.curve, given=state, trust_remote_code=parsed.trust_remote_code)
        for one, state in wanted.items()
    }


def _without_results(parsed: argparse.Namespace, reference: Reference | None) -> list[Check]:
    """States alone, against a reference's law."""
    from l2m_eval.condition.state_check import check_model
    from l2m_eval.history_state.named import named_history_state
    from l2m_eval.results.check import Check, check_model_series

    law, name = _law(reference, parsed.curve)
    states = {}
    for given in parsed.state:
        state = named_history_state(given, STATE_LENGTHS, trust_remote_code=parsed.trust_remote_code)
        if state.model in states:
            raise L2MError(f"state: {state.model!r} is given twice; give each model once")
        states[state.model] = state
    if parsed.series:
        return [check_model_series(states, lengths_of(parsed.series), law, parsed.curve)]
    return [
        Check(check_model(state, law, nats_per_element=parsed.constant), label, "", parsed.curve, name)
        for label, state in states.items()
    ]


def _series(
    parsed: argparse.Namespace,
    found: Sequence[Results],
    given: Mapping[Results, HistoryState],
    reference: Reference | None,
) -> Check:
    from l2m_eval.results.check import check_model_series, law_of, state_of

    lengths = lengths_of(parsed.series)
    if len(found) != len(lengths):
        models = ", ".join(one.run.label for one in found)
        raise L2MError(
            f"series: {len(lengths)} length(s) for {len(found)} result(s) ({models}); give one for each"
        )
    labels = [one.run.label for one in found]
    names = [
        label if labels.count(label) == 1 else one.run.model for label, one in zip(labels, found, strict=True)
    ]
    states = {
        name: given[one]
        if one in given
        else state_of(one, parsed.curve, trust_remote_code=parsed.trust_remote_code)
        for name, one in zip(names, found, strict=True)
    }
    # Without a reference the model meant for the longest texts says what they hold.
    longest = found[max(range(len(found)), key=lambda i: lengths[i])]
    law = _law(reference, parsed.curve)[0] if reference is not None else law_of(longest, parsed.curve)
    return check_model_series(states, lengths, law, parsed.curve)


def _law(reference: Reference | None, curve: str) -> tuple[Any, str]:
    from l2m_eval.condition.law import ScalingLaw
    from l2m_eval.results.check import law_of

    assert reference is not None
    if isinstance(reference, ScalingLaw):
        return reference, reference.of
    return law_of(reference, curve), reference.run.label


# --- how it reads -----------------------------------------------------------------------------------------------


def check_text(check: Check, *, notes: bool = True) -> str:
    """The sentence, then the numbers behind it, then what a reader should know about them."""
    verdict = check.verdict
    if verdict.check == "error":
        return f"Not checked: {check.model}: {verdict.sentence}"
    numbers = verdict.to_json()["numbers"]
    parts = {"single-model": _model_numbers, "mi-capability": _ratio_numbers, "series": _series_numbers}
    use = [check.use] if check.use else []
    lines = [verdict.sentence, *use, "", *parts[verdict.check](numbers)]
    if check.results:
        lines.append(f"  results       {check.results}")
    if notes:
        lines += [f"  note          {note}" for note in numbers.get("notes", ())]
    if notes and not check.reference:
        lines.append(
            "  note          β is that of this model's own curve; a stronger model's may be larger: --reference"
        )
    return "\n".join(lines)


def _context_lines(numbers: Mapping[str, Any]) -> list[str]:
    """How much of the state's capacity the law asks for at the model's context: the length that users plan with."""
    there = numbers.get("at_context")
    if there is None:
        return []
    return [
        f"  context       {there['length']:,} tokens (the most that the model accepts)",
        f"  I / capacity  {there['share']:.2g} there: {there['information']:.3g} of {there['capacity']:.3g} nats",
    ]


def _measured_lines(measured: Mapping[str, Any] | None) -> list[str]:
    """The state that is needed, by each way of making it smaller, beside the one that there is."""
    if measured is None:
        return []
    from l2m_eval.condition.measured import size_in_words

    share, bound = f"{100 * measured['keep']:g} %", measured["bound"]
    lines = []
    if measured["delta"] is not None:
        lines.append(
            f"  δ needed      {_shown(measured['delta'], '.3f')}{_interval(measured['delta_interval'], '.3f')}: "
            f"the state that keeps {share} of the information ({measured['delta_of']}; {measured['of']})"
        )
    there = measured["at_longest"]
    if there is not None:
        at = measured["lengths"].index(there["length"])
        sizes = ((family["family"], family["sizes"][at]["value"]) for family in measured["needed"])
        needed = ", ".join(f"{size_in_words(size)} ({name})" for name, size in sizes if size is not None)
        lines.append(f"  needed state  {needed} of {size_in_words(there['has'])} at L = {there['length']:,}")
    outside = f"{len(bound['above'])} above the bound" if bound["above"] else "none above the bound"
    lines.append(
        f"  Theorem 5.2   {bound['points']} points measured, {outside}; the nearest has "
        f"{_shown(bound['largest_share'], '.2g')} of it"
    )
    return lines


def _model_numbers(numbers: Mapping[str, Any]) -> list[str]:
    lines = [
        *_context_lines(numbers),
        f"  γ of state    {_shown(numbers['gamma'], '.4g')} ({numbers['state_source']}): "
        f"the state {numbers['growth']}",
        f"  β of data     {_shown(numbers['beta'], '.3f')}{_interval(numbers['beta_interval'], '.3f')}: "
        f"{numbers['beta_of']}",
        f"  margin γ - β  {_shown(numbers['margin'], '.3f')}{_spread(numbers['margin_error'])}"
        f"{_interval(numbers['margin_interval'], '.3f')}",
        *_measured_lines(numbers.get("measured")),
    ]
    reached = numbers["horizon"]
    where = "never" if reached["length"] is None else f"{_length(reached['length'])} tokens"
    lines.append(
        f"  horizon       {where}{_interval(reached['interval'], 'length')}; {reached['assumption'][0].lower()}"
        f"{reached['assumption'][1:]}"
    )
    if "utilisation" in numbers:
        used = numbers["utilisation"]
        rows = [["  L (tokens)", "I(L) (nats)", "state (elements)", "capacity (nats)", "I(L) / capacity"]]
        for length, elements, capacity, share, error in zip(
            *(used[key] for key in ("lengths", "elements", "capacity", "values", "errors")), strict=True
        ):
            spread = "" if error is None else f" ± {error * capacity:.2f}"
            value = "unknown" if share is None else f"{share * capacity:.2f}{spread}"
            rows.append(
                [f"{length:,.0f}", value, f"{elements:,.0f}", f"{capacity:,.4g}", _shown(share, ".1e")]
            )
        lines += ["", aligned(rows, left=0), ""]
    return lines


def _ratio_numbers(numbers: Mapping[str, Any]) -> list[str]:
    rows = [[f"  L ({numbers['unit']})", "I / I of reference", "± error"]]
    for length, ratio, error in zip(numbers["lengths"], numbers["ratios"], numbers["errors"], strict=True):
        rows.append([f"{length:,.0f}", f"{ratio:.3f}", _shown(error, ".3f")])
    return [
        f"  trend         L^{_shown(numbers['trend'], '.3f')} ± {_shown(numbers['trend_error'], '.3f')}"
        f"{_interval(numbers['trend_interval'], '.3f')}; keeps up from -{numbers['tolerance']:g}",
        f"  reference     {numbers['reference']}",
        "",
        aligned(rows, left=0),
        "",
    ]


def _series_numbers(numbers: Mapping[str, Any]) -> list[str]:
    rows = [["  intended L", "state (elements)", "model"]]
    for member in numbers["members"]:
        rows.append([f"{member['length']:,.0f}", f"{member['state_size']:,.0f}", member["name"]])
    return [
        f"  δ of states   {_shown(numbers['delta'], '.3f')}{_spread(numbers['delta_error'])}",
        f"  β of data     {_shown(numbers['beta'], '.3f')}{_interval(numbers['beta_interval'], '.3f')}: "
        f"{numbers['beta_of']}",
        f"  margin δ - β  {_shown(numbers['margin'], '.3f')}{_interval(numbers['margin_interval'], '.3f')}",
        "",
        aligned(rows, left=0),
        "",
    ]


def _shown(value: float | None, form: str) -> str:
    return "unknown" if value is None or math.isnan(value) else f"{value:{form}}"


def _spread(error: float | None) -> str:
    """`` ± 0.03``; nothing where none is known or published."""
    return f" ± {error:.3f}" if error else ""


def _interval(ends: Sequence[float | None], form: str) -> str:
    """`` (95 % interval 0.23 to 0.34)``; of lengths an end may be never."""
    if form == "length":
        low, high = ("never" if end is None else _length(end) for end in ends)
    elif None in ends:
        return ""
    else:
        low, high = (f"{end:{form}}" for end in ends if end is not None)
    return "" if low == high else f" (95 % interval {low} to {high})"


def _length(tokens: float) -> str:
    return f"{tokens:,.0f}" if tokens < 1e6 else f"{tokens:.1e}"
