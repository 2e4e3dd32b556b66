"""``l2m-eval plan``: what a measurement costs, before it is paid for."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from l2m_eval.cli.command import add_command
from l2m_eval.cli.text import aligned, byte_size
from l2m_eval.errors import L2MError

if TYPE_CHECKING:
    from l2m_eval.history_state import HistoryState
    from l2m_eval.history_state.arithmetic import Arithmetic
    from l2m_eval.measurements.cost import Feed
    from l2m_eval.results.pilot import Needed

SCHEMA = "l2m-eval/plan/1"


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    parser = add_command(
        commands,
        "plan",
        run,
        summary="what a measurement will cost: tokens, operations, memory, and the documents for a wanted error",
        description="The tokens that tasks will feed to a model of the hf backend, counted from its configuration "
        "and the tasks' settings, with the arithmetic and memory that they take; no weights are loaded. With --from, "
        "how many documents a wanted standard error needs, from the results of a smaller run.",
        examples=[
            "l2m-eval plan path/to/model --tasks l2m_bipartite_text,l2m_position_nll_text "
            '--metadata \'{"corpus": "books/*.txt"}\'',
            "l2m-eval plan meta-llama/Llama-3.1-8B --tasks l2m_context_use --max-length 131072",
            "l2m-eval plan --from out --error beta=0.01 --error direct_mi=1",
        ],
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a folder with a config.json, such a file, a GGUF file (only its header is read), or a hub id",
    )
    parser.add_argument("--tasks", metavar="TASK,TASK,...", help="as for lm_eval")
    parser.add_argument("--metadata", default="{}", metavar="JSON", help="settings, as for lm_eval")
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="TOKENS",
        help="the model's context (default: what its configuration says), as max_length in --model_args",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=1,
        metavar="N",
        help="windows read at once (default: 1), for the memory",
    )
    parser.add_argument(
        "--from", dest="pilot", nargs="+", metavar="RESULTS", help="results of a smaller run, for --error"
    )
    parser.add_argument(
        "--error",
        action="append",
        default=[],
        metavar="NAME=ERROR",
        help="a standard error that is wanted: beta=0.01, direct_mi@2048=1, or direct_mi=1 for every length; may be "
        "repeated",
    )
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="allow an architecture whose code comes with the model",
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON, schema {SCHEMA}")


@dataclass(frozen=True, eq=False)
class TaskCost:
    """What one task costs.

    Attributes:
        task: Its name.
        feed: What it feeds to the model.
        operations: Floating-point operations of all documents.
        state_bytes: History states of one batch of the longest windows.
        logits_bytes: Logits held at a time.
        note: What the reader should know; may be empty.
    """

    task: str
    feed: Feed
    operations: float
    state_bytes: float
    logits_bytes: float
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            **asdict(self.feed),
            "tokens_per_document": self.feed.tokens_per_document,
            "operations": self.operations,
            "state_bytes": self.state_bytes,
            "logits_bytes": self.logits_bytes,
            "note": self.note,
        }


def run(parsed: argparse.Namespace) -> int:
    """Print the costs, the documents needed, or both."""
    if bool(parsed.pilot) != bool(parsed.error):
        raise L2MError("error: --from RESULTS and --error NAME=ERROR go together (see l2m-eval plan --help)")
    if bool(parsed.model) != bool(parsed.tasks):
        raise L2MError("tasks: MODEL and --tasks go together (see l2m-eval plan --help)")
    if not parsed.model and not parsed.pilot:
        raise L2MError("model: give a MODEL with --tasks, or --from RESULTS with --error, or all of them")
    if parsed.batch_size < 1:
        raise L2MError(f"batch-size: {parsed.batch_size} is not accepted; give 1 or more")
    needed = _all_needed(parsed.pilot, parsed.error) if parsed.pilot else []
    size, costs = _costs(parsed) if parsed.model else (None, [])
    if parsed.json:
        written = {
            "schema": SCHEMA,
            "model": None if size is None else {"name": parsed.model, **asdict(size)},
            "tasks": [cost.to_json() for cost in costs],
            "documents_needed": [one.to_json() for one in needed],
        }
        print(json.dumps(written, indent=2, ensure_ascii=False))
        return 0
    parts = []
    if size is not None:
        parts.append(costs_text(size, costs, parsed.batch_size, notes=not parsed.quiet))
    if needed:
        parts.append(needed_text(needed, notes=not parsed.quiet))
    print("\n\n".join(parts))
    return 0


def _costs(parsed: argparse.Namespace) -> tuple[Arithmetic, list[TaskCost]]:
    from l2m_eval.history_state.arithmetic import arithmetic_of
    from l2m_eval.history_state.configuration import built_on_meta
    from l2m_eval.history_state.named import named_history_state
    from l2m_eval.history_state.released import load_configuration
    from l2m_eval.measurements.cost import goes_on_from_prefixes
    from l2m_eval.scoring.rotary import RotaryFrequencies

    limit = {} if parsed.max_length is None else {"max_length": parsed.max_length}
    tasks = _tasks(parsed.tasks, {"pretrained": parsed.model, **limit, **_metadata(parsed.metadata)})
    config, _ = load_configuration(parsed.model, parsed.trust_remote_code)
    state = named_history_state(parsed.model, [1024], trust_remote_code=parsed.trust_remote_code)
    model = built_on_meta(config, parsed.model, parsed.trust_remote_code)
    context = parsed.max_length if parsed.max_length is not None else state.context
    if context is None:
        raise L2MError(
            f"max-length: the configuration of {parsed.model} names no context; give the max_length that the run "
            "will have in --model_args (lm-eval takes 2048 otherwise)"
        )
    if context < 1:
        raise L2MError(f"max-length: {context} is not accepted; give a number of tokens, 1 or more")
    size, fixed = arithmetic_of(config, model, state), RotaryFrequencies(model).fixed_up_to
    costs = []
    for name, task in tasks.items():
        feed, note = _feed_of(task, context, goes_on_from_prefixes(state), fixed)
        costs.append(_cost(name, feed, note, parsed.batch_size, state, size))
    return size, costs


def _feed_of(task: Any, context: int, shares_prefixes: bool, fixed_up_to: int | None) -> tuple[Feed, str]:
    """What a task feeds to the model, and what the reader should know of it."""
    from l2m_eval.measurements.cost import Feed, feed_of
    from l2m_eval.processes.words import WordTokenizer

    kind, documents, note = task.kind.name, len(task.docs), getattr(task, "planned_note", "")
    if kind == "two_point":
        return Feed(documents, 0, 0, 0, 0, 0), "reads the text alone, no model"
    if kind == "two_point_generated":
        length = task.settings.length
        sampled, pairs = documents * length, documents * length * (length + 1) // 2
        return Feed(documents, documents, sampled, sampled, pairs, length), "samples one token after another"
    measured = set(range(documents))
    feed = feed_of(
        [task.request(doc, measured) for doc in task.docs],
        context,
        shares_prefixes=shares_prefixes,
        fixed_up_to=fixed_up_to,
        tokenizer=WordTokenizer(task.process.vocabulary_size) if kind == "kl" else None,
    )
    return feed, note


def _cost(
    name: str, feed: Feed, note: str, batch_size: int, state: HistoryState, size: Arithmetic
) -> TaskCost:
    from l2m_eval.scoring.huggingface import LOGITS_BYTES

    bits = float(state.bits_at([feed.longest])[0]) if feed.longest else 0.0
    return TaskCost(
        name,
        feed,
        size.operations(feed.tokens, feed.predicted, feed.pairs),
        batch_size * bits / 8,
        float(min(LOGITS_BYTES, 4 * batch_size * feed.longest * size.vocabulary)),
        note,
    )


def _tasks(names: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The tasks of these names with their settings. A corpus on the hub is not read: its documents are planned.

    Raises:
        L2MError: a name that is no task of ours, or a setting that is not accepted.
    """
    import l2m_eval.tasks
    from l2m_eval.corpus.documents import hub_dataset
    from l2m_eval.harness.registration import our_task_files
    from l2m_eval.settings import PROCESS

    made = {}
    files = our_task_files([one for one in names.split(",") if one], dict(metadata))
    for name, (class_name, own) in files.items():
        task_class, told = getattr(l2m_eval.tasks, class_name), {**own, **metadata}
        task = task_class({"task": name, "metadata": told})
        if hub_dataset(task.settings) is not None:
            task = task_class({"task": name, "metadata": {**told, "corpus": PROCESS, "process": "santa_fe"}})
            task.planned_note = "documents as asked for; the corpus on the hub was not read"
        made[name] = task
    return made


def _metadata(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise L2MError(f"metadata: {text[:80]!r} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise L2MError(f'metadata: {text[:80]!r} is not a mapping; give {{"NAME": VALUE}}')
    return found


def _all_needed(paths: Sequence[str], wanted: Sequence[str]) -> list[Needed]:
    from l2m_eval.results.load import load_results
    from l2m_eval.results.pilot import documents_needed

    results = load_results(paths, documents=False)
    found = []
    for one in wanted:
        name, _, error = one.partition("=")
        try:
            number = float(error)
        except ValueError:
            raise L2MError(
                f"error: {one!r} is not accepted; give NAME=ERROR, for example beta=0.01"
            ) from None
        found += documents_needed(results, name, number)
    return found


def costs_text(size: Arithmetic, costs: Sequence[TaskCost], batch: int, *, notes: bool = True) -> str:
    """A table with a line for each task, and what stands behind it."""
    rows = [
        [
            "task",
            "documents",
            "tokens a document",
            "tokens",
            "longest window",
            "operations",
            "state",
            "logits",
        ]
    ]
    for cost in costs:
        feed = cost.feed
        rows.append(
            [
                cost.task,
                f"{feed.documents:,}",
                f"{feed.tokens_per_document:,.0f}",
                f"{feed.tokens:,}",
                f"{feed.longest:,}",
                f"{cost.operations:.3g}",
                byte_size(cost.state_bytes),
                byte_size(cost.logits_bytes),
            ]
        )
    lines = [
        f"{size.parameters:,} parameters, {byte_size(size.weight_bytes)} of weights.",
        "",
        aligned(rows),
    ]
    if notes:
        lines += [
            "",
            f"State: of the longest windows, {batch} at once. Operations: products of matrices, two for each "
            "multiplication and addition.",
            *(f"{cost.task}: {cost.note}." for cost in costs if cost.note),
        ]
    return "\n".join(lines)


def needed_text(needed: Sequence[Needed], *, notes: bool = True) -> str:
    """A table of the documents that each wanted error needs."""
    rows = [["number", "in the pilot", "wanted", "documents", "tokens"]]
    for one in needed:
        tokens = one.needed * one.tokens_per_document
        rows.append(
            [
                one.name,
                f"{one.value:.4g} ± {one.standard_error:.2g}",
                f"± {one.wanted:g}",
                f"{one.needed:,}",
                f"{tokens:,.0f}" if tokens == tokens else "unknown",
            ]
        )
    lines = [aligned(rows)]
    if notes:
        count = max(one.documents for one in needed)
        uncertain = round(100 * (2 / count) ** 0.5)
        lines += [
            "",
            f"From {count:,} documents, whose errors give these numbers to about {uncertain} %. Chunks of one source "
            "count together: as many more sources are needed, too.",
        ]
    return "\n".join(lines)
