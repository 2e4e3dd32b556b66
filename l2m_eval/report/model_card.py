"""The model card: evaluation results as Hugging Face's metadata block, and a short section of prose.

The block is the ``model-index`` of a README's front matter, made and checked by the installed `huggingface_hub`.
Merging rewrites that one key and the section between our two markers; every other byte of the card stays.
"""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from l2m_eval import __version__
from l2m_eval.errors import L2MError, cause
from l2m_eval.report.reproduce import reproducing_command
from l2m_eval.report.selection import select
from l2m_eval.report.tables import Column, Table, escape_markdown, number, shown_interval, shown_value, text
from l2m_eval.results.comparable import corpus_in_words
from l2m_eval.results.headline import quantities_of
from l2m_eval.results.run import Results

BEGIN, END = "<!-- l2m-eval results: begin -->", "<!-- l2m-eval results: end -->"
PAPER = "https://arxiv.org/abs/2503.04725"
_FRONT_MATTER = re.compile(
    r"\A(\ufeff?\s*---[ \t]*\r?\n)(.*?)(^---[ \t]*(?:\r?\n|\Z))", re.DOTALL | re.MULTILINE
)
_HUB = {
    "pg19": ("emozilla/pg19-test", None, "test"),
    "wikipedia": ("wikimedia/wikipedia", "20231101.en", "train"),
}


def results_of_one_model(
    results: Sequence[Results], model: str | None = None
) -> tuple[str, tuple[Results, ...]]:
    """The newest results of the model that the card is about, and its label.

    Raises:
        L2MError: several models and none chosen, or one that is not there.
    """
    selection = select(results)
    labels = list(selection.numbers)
    if model is None and len(labels) > 1:
        raise L2MError(
            f"model: the results are of {', '.join(labels)}; say with --model which one the card is about"
        )
    label = model if model is not None else labels[0]
    if label not in labels:
        raise L2MError(f"model: {label!r} is not in these results; they are of {', '.join(labels)}")
    return label, tuple(one for one in selection.results if selection.labels[one] == label)


def evaluation_results(results: Sequence[Results]) -> list[Any]:
    """`huggingface_hub.EvalResult` of every headline number that is finite, error and interval as arguments."""
    from huggingface_hub import EvalResult

    found = []
    for quantity in quantities_of(results):
        estimate, told = quantity.estimate, dict(quantity.settings)
        if math.isfinite(estimate.standard_error):
            told["standard_error"] = short(estimate.standard_error)
        if any(math.isfinite(end) for end in estimate.interval):
            told["interval_95"] = [short(end) if math.isfinite(end) else None for end in estimate.interval]
        found.append(
            EvalResult(
                task_type="text-generation",
                task_name="Text Generation",
                metric_type=quantity.metric,
                metric_name=quantity.title,
                metric_value=short(estimate.value),
                metric_args=told or None,
                **dataset_of(quantity.results),
            )
        )
    return found


def _has_direct(one: Results) -> bool:
    """Whether the results hold the headline's curve; a check that took it from other results only repeats it."""
    return not one.block.get("results") and any(curve.name == "direct" for curve in one.bipartite)


def metadata_block(label: str, results: Sequence[Results]) -> str:
    """The front matter of a card that has nothing else, as YAML between its two lines of dashes.

    Raises:
        L2MError: no number that could be given.
    """
    return f"---\n{_dump({'model-index': _model_index(label, results)})}---\n"


def prose_section(label: str, results: Sequence[Results]) -> str:
    """The section between the markers: what was measured, the numbers, how to repeat it."""
    rows = []
    for quantity in quantities_of(results):
        value = number(quantity.estimate.value, shown_value(quantity))
        rows.append(
            (text(quantity.title), text(quantity.corpus), value, text(shown_interval(quantity.estimate)))
        )
    table = Table(
        "card",
        "Values with standard errors over documents.",
        (Column("measure"), Column("text"), Column("value", number=True), Column("95 % interval")),
        tuple(rows),
    )
    sentences = [
        f"Measured with l2m-eval {__version__} on lm-evaluation-harness, following [L²M]({PAPER}): "
        "the mutual information between the first and the second part of a text grows like L^β with its length L; "
        "β says how much of a longer text the model makes use of."
    ]
    sentences += [
        escape_markdown(one.verdict.sentence)
        for one in results
        if one.verdict is not None and one.verdict.sentence
    ]
    uses = (one.use_sentence() for one in results if one.context_use is not None or _has_direct(one))
    sentences += [escape_markdown(sentence) for sentence in dict.fromkeys(uses) if sentence]
    counts = sorted({int(one.sample["documents"]) for one in results if one.sample.get("documents")})
    if counts:
        seeds = ", ".join(sorted({str(one.seed) for one in results}))
        sentences.append(f"Documents: {', '.join(map(str, counts))}; seed: {seeds}.")
    commands = "\n".join(reproducing_command(one) for one in results)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", commands)), default=0))
    return (
        f"{BEGIN}\n## How much context {escape_markdown(label)} uses\n\n"
        + "\n\n".join(sentences)
        + f"\n\n{table.to_markdown()}\n{fence}bash\n{commands}\n{fence}\n{END}\n"
    )


def merged_card(card: str, label: str, results: Sequence[Results]) -> str:
    """A card with our results in it: ``model-index`` extended, our section replaced or appended, the rest as it is.

    A metric of the same type and name on the same task and data set is replaced; all others stay.

    Raises:
        L2MError: front matter or a model-index that cannot be read, markers without their partner, or no number
            that could be given.
    """
    ending = "\r\n" if "\r\n" in card else "\n"
    match = _FRONT_MATTER.match(card)
    if match is None:
        body = card
        front = metadata_block(label, results).replace("\n", ending) + (ending if body.strip() else "")
    else:
        body = card[match.end() :]
        front = match[1] + _merged_yaml(match[2], label, results, ending) + match[3]
    section = prose_section(label, results).replace("\n", ending)
    merged = front + _merged_body(body, section, ending)
    _validate(merged)
    return merged


# --- parts ------------------------------------------------------------------------------------------------------


def short(value: float) -> float:
    """Six significant digits: more than any error bar leaves room for."""
    return float(f"{value:.6g}")


def dataset_of(one: Results) -> dict[str, Any]:
    """How the corpus is called on the Hub, or what it is where it is not there."""
    settings = one.settings
    corpus = settings.get("corpus") or ()
    first = corpus if isinstance(corpus, str) else str(corpus[0]) if corpus else ""
    name = corpus_in_words(one)
    if first in _HUB:
        identity, config, split = _HUB[first]
        return {
            "dataset_type": identity,
            "dataset_name": name,
            "dataset_config": config,
            "dataset_split": split,
        }
    if first.startswith("hub:"):
        return {
            "dataset_type": first.removeprefix("hub:"),
            "dataset_name": name,
            "dataset_config": settings.get("subset"),
            "dataset_split": settings.get("split"),
        }
    kind = "known-process" if first == "process" else "text-files"
    return {"dataset_type": kind, "dataset_name": name}


def _model_index(label: str, results: Sequence[Results]) -> list[dict[str, Any]]:
    from huggingface_hub.repocard_data import eval_results_to_model_index

    found = evaluation_results(results)
    if not found:
        raise L2MError(f"results: no number of {label} is finite; measure more documents")
    index: list[dict[str, Any]] = eval_results_to_model_index(label, found)
    return index


def _dump(data: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=110))


def _merged_yaml(front: str, label: str, results: Sequence[Results], ending: str) -> str:
    """The front matter with our results in its ``model-index``; every character outside that key stays."""
    try:
        document = yaml.compose(front, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 2}" if where is not None else ""
        raise L2MError(f"card: its front matter is not valid YAML{at}; mend it first") from error
    if document is not None and not isinstance(document, yaml.MappingNode):
        raise L2MError("card: its front matter is not a mapping of keys to values; mend it first")
    ours = _model_index(label, results)[0]
    pairs = [] if document is None else document.value
    found = next(((key, value) for key, value in pairs if key.value == "model-index"), None)
    if found is None:
        glue = "" if not front or front.endswith(("\n", "\r")) else ending
        return front + glue + _dump({"model-index": [ours]}).replace("\n", ending)
    key, value = found
    if key.start_mark.column:
        raise L2MError("card: its model-index is not written as a key of its own line; mend it first")
    start, stop = key.start_mark.index, value.end_mark.index
    rest = front[stop:]
    if stop and front[stop - 1] not in "\r\n":  # a value within brackets ends before the comment beside it
        stop += len(rest) - len(rest.split("\n", 1)[-1]) if "\n" in rest else len(rest)
    block = front[start:stop].replace("\r\n", "\n")
    return front[:start] + _with_ours(block, ours).replace("\n", ending) + front[stop:]


def _with_ours(block: str, ours: dict[str, Any]) -> str:
    """The text of a ``model-index`` with our results in it: comments, quotes and brackets stay, as does all of it
    where our results are there already.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.util import load_yaml_guess_indent

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096  # no line that is there is broken anew
    try:
        _, indent, dash = load_yaml_guess_indent(block)
        if indent is not None:
            editor.indent(mapping=2, sequence=indent, offset=dash or 0)
        data = editor.load(block)
        before = yaml.safe_load(block)
        data["model-index"] = _merged_index(data["model-index"], ours)
        buffer = io.StringIO()
        editor.dump(data, buffer)
    except (YAMLError, yaml.YAMLError) as error:
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise L2MError(f"card: its model-index cannot be read ({reason}); mend it first") from error
    written = buffer.getvalue()
    return block if yaml.safe_load(written) == before else written


def _merged_index(index: Any, ours: dict[str, Any]) -> list[Any]:
    """The card's model-index with our results in its entry of the same name, or its only one."""
    if index is None:
        return [ours]
    well_formed = isinstance(index, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("results"), list) for entry in index
    )
    if not well_formed:
        raise L2MError("card: its model-index is not a list of entries with name and results; mend it first")
    entry = next((e for e in index if e.get("name") == ours["name"]), index[0] if len(index) == 1 else None)
    if entry is None:
        return [*index, ours]
    for result in ours["results"]:
        same = next((r for r in entry["results"] if _identity(r) == _identity(result)), None)
        if same is None:
            entry["results"].append(result)
            continue
        metrics = same.setdefault("metrics", [])
        for metric in result["metrics"]:
            key = (metric.get("type"), metric.get("name"))
            place = next(
                (
                    i
                    for i, m in enumerate(metrics)
                    if isinstance(m, dict) and (m.get("type"), m.get("name")) == key
                ),
                None,
            )
            if place is None:
                metrics.append(metric)
            else:
                metrics[place].update(metric)  # in place: a comment beside it stays
    return index


def _identity(result: Any) -> Any:
    if not isinstance(result, dict):
        return None
    task, dataset = result.get("task") or {}, result.get("dataset") or {}
    keys = ("type", "name", "config", "split", "revision")
    return (task.get("type"), *(dataset.get(key) for key in keys))


def _merged_body(body: str, section: str, ending: str) -> str:
    begins, ends = body.count(BEGIN), body.count(END)
    if begins == 0 and ends == 0:
        gap = "" if not body.strip() else ending if body.endswith(("\n", "\r")) else ending * 2
        return body + gap + section
    start, stop = body.find(BEGIN), body.find(END)
    if begins != 1 or ends != 1 or stop < start:
        raise L2MError(
            f"card: {BEGIN} and {END} do not stand once each, in this order; remove what is left of them"
        )
    after = stop + len(END)
    if body.startswith(ending, after):
        after += len(ending)
    return body[:start] + section + body[after:]


def _validate(card: str) -> None:
    """Let the installed `huggingface_hub` read the card as the Hub would."""
    from huggingface_hub import ModelCard

    quiet = logging.getLogger("huggingface_hub.repocard")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        ModelCard(card)
    except (ValueError, TypeError, KeyError) as error:
        raise L2MError(f"card: huggingface_hub does not accept the merged card ({cause(error)})") from error
    finally:
        quiet.setLevel(level)
