"""Headline numbers in the formats that other people's tools read: the hub, Every Eval Ever, tables for papers.

Sources: the hub's format is that of the installed `huggingface_hub` (`EvalResultEntry`); that of Every Eval Ever is
`every_eval_ever/schemas/eval.schema.json` of `evaleval/every_eval_ever`, version 0.3.0.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from l2m_eval import __version__
from l2m_eval.errors import L2MError
from l2m_eval.report.latex import latex_heading, latex_table
from l2m_eval.report.model_card import dataset_of, metadata_block, results_of_one_model, short
from l2m_eval.report.reproduce import reproducing_command
from l2m_eval.report.selection import select
from l2m_eval.report.tables import Cell, Column, Table, number, shown_interval, shown_value, text
from l2m_eval.results.headline import Quantity, quantities_of
from l2m_eval.results.run import Results

SCHEMA_OF_EVERY_EVAL_EVER = "0.3.0"
# Backends of the harness that hold the weights themselves.
_IN_PROCESS = ("hf", "hf-auto", "huggingface", "vllm", "sglang")
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")


@dataclass(frozen=True)
class Publication:
    """Information for a format that the results do not contain.

    Attributes:
        model: The model to publish, if the results are of several.
        name: The model's name in what is published; its label by default. An id of the hub where there is one.
        dataset: Id of a dataset of the hub, for the hub's format, where the corpus is none.
        source: Address of the results, for the hub's format.
        organization: Who measured.
        relationship: Of who measured to who made the model, one of `RELATIONSHIPS`.
    """

    model: str | None = None
    name: str | None = None
    dataset: str | None = None
    source: str | None = None
    organization: str = "not stated"
    relationship: str = "other"


def publish(results: Sequence[Results], form: str, about: Publication | None = None) -> str:
    """The headline numbers of these results as the text of a file.

    Args:
        results: Of one model, or of several for tables.
        form: One of `FORMATS`.
        about: What the results do not say.

    Raises:
        L2MError: no finite number, several models in a format for one, or a corpus that the format has no name for.
    """
    return FORMATS[form](results, about or Publication())


# --- one model --------------------------------------------------------------------------------------------------


def hub_entries(results: Sequence[Results], about: Publication) -> list[Any]:
    """One `huggingface_hub.EvalResultEntry` for each headline number.

    Raises:
        L2MError: a corpus that is no dataset of the hub, where none is named.
    """
    from huggingface_hub import EvalResultEntry

    _, _, quantities = _of_one_model(results, about)
    entries = []
    for quantity in quantities:
        dataset = about.dataset or dataset_of(quantity.results)["dataset_type"]
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
            raise L2MError(
                f"dataset: {quantity.corpus} is no dataset of the hub, whose format names one; give --dataset "
                "OWNER/NAME, or another --format"
            )
        date = quantity.results.run.date
        entries.append(
            EvalResultEntry(
                dataset_id=dataset,
                task_id=quantity.metric,
                value=short(quantity.estimate.value),
                date=date.strftime("%Y-%m-%dT%H:%M:%SZ") if date else None,
                source_url=about.source,
                source_name="l2m-eval" if about.source else None,
                notes=_note(quantity),
            )
        )
    return entries


def _hub(results: Sequence[Results], about: Publication) -> str:
    from huggingface_hub import eval_result_entries_to_yaml

    entries = eval_result_entries_to_yaml(hub_entries(results, about))
    return str(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=110))


def _note(quantity: Quantity) -> str:
    """Settings and interval in a line."""
    one = quantity.results
    told = [
        f"{quantity.title}: {shown_value(quantity)}{f' {quantity.unit}' if quantity.unit else ''}",
        f"95 % interval {shown_interval(quantity.estimate)}",
        f"task {one.task}",
        quantity.corpus,
        f"{quantity.documents} documents, seed {one.seed}",
        f"l2m-eval {one.versions.get('l2m-eval', __version__)}",
    ]
    return "; ".join(told)


def _model_index(results: Sequence[Results], about: Publication) -> str:
    name, chosen, _ = _of_one_model(results, about)
    return metadata_block(name, chosen)


def every_eval_ever(results: Sequence[Results], about: Publication) -> dict[str, Any]:
    """A record of Every Eval Ever, version 0.3.0: all headline numbers of one model."""
    name, chosen, quantities = _of_one_model(results, about)
    run = max((one.run for one in chosen), key=lambda r: r.date.timestamp() if r.date else -math.inf)
    now = f"{time.time():.0f}"
    owner, slash, _ = name.partition("/")
    model: dict[str, Any] = {"name": name, "id": name, "inference_engine": {"name": run.backend or "unknown"}}
    if slash:
        model["developer"] = owner
    details = {"dtype": run.dtype, "revision": run.revision, "parameters": run.parameters}
    model["additional_details"] = {
        **{key: str(value) for key, value in details.items() if value},
        # Asked for by its validator. Behind an address, results do not say who served the model.
        "deployment_type": "self_deployed" if run.backend in _IN_PROCESS else "unknown",
        "model_availability": "unknown",
    }
    record: dict[str, Any] = {
        "schema_version": SCHEMA_OF_EVERY_EVAL_EVER,
        "evaluation_id": f"l2m-eval/{name}/{now}",
        "retrieved_timestamp": now,
        "source_metadata": {
            "source_name": "l2m-eval",
            "source_type": "evaluation_run",
            "source_organization_name": about.organization,
            "evaluator_relationship": about.relationship,
        },
        "eval_library": {
            "name": "lm_eval",
            "version": run.harness or "unknown",
            "additional_details": {"l2m-eval": str(chosen[0].versions.get("l2m-eval", __version__))},
        },
        "model_info": model,
        "evaluation_results": [_evaluation_result(quantity) for quantity in quantities],
    }
    if run.date is not None:
        record["evaluation_timestamp"] = f"{run.date.timestamp():.0f}"
    return record


def _evaluation_result(quantity: Quantity) -> dict[str, Any]:
    one, estimate = quantity.results, quantity.estimate
    uncertainty: dict[str, Any] = {}
    if math.isfinite(estimate.standard_error):
        uncertainty["standard_error"] = {
            "value": estimate.standard_error,
            "method": "clusters of documents: linearised for means, resampled for fits",
        }
    if all(math.isfinite(end) for end in estimate.interval):
        uncertainty["confidence_interval"] = {
            "lower": estimate.interval[0],
            "upper": estimate.interval[1],
            "confidence_level": 0.95,
        }
    if quantity.documents:
        uncertainty["num_samples"] = quantity.documents
    direction = {} if quantity.higher_is_better is not None else {"direction": "neither is better as such"}
    bound = (
        {"bound": "at least; growth is shown up to the longest length measured"} if quantity.at_least else {}
    )
    config: dict[str, Any] = {
        "evaluation_description": quantity.title,
        "metric_id": quantity.metric,
        "metric_name": quantity.name,
        "metric_parameters": {
            key: value if isinstance(value, (str, int, float, bool)) else json.dumps(value)
            for key, value in quantity.settings.items()
        },
        # The schema knows two directions; a number that has none is said to have none beside it.
        "lower_is_better": quantity.higher_is_better is False,
    }
    if quantity.unit:
        config["metric_unit"] = quantity.unit
    if direction | bound:
        config["additional_details"] = direction | bound
    result: dict[str, Any] = {
        "evaluation_result_id": f"{one.task}/{quantity.name}",
        "evaluation_name": one.task,
        "source_data": _source(quantity),
        "metric_config": config,
        "score_details": {"score": estimate.value, "uncertainty": uncertainty},
        "generation_config": {"generation_args": {"execution_command": reproducing_command(one)}},
    }
    if one.run.date is not None:
        result["evaluation_timestamp"] = f"{one.run.date.timestamp():.0f}"
    return result


def _source(quantity: Quantity) -> dict[str, Any]:
    dataset = dataset_of(quantity.results)
    told: dict[str, Any] = {"dataset_name": quantity.corpus, "source_type": "other"}
    if "/" in dataset["dataset_type"]:
        told |= {"source_type": "hf_dataset", "hf_repo": dataset["dataset_type"]}
        optional = {"hf_split": dataset.get("dataset_split"), "hf_config": dataset.get("dataset_config")}
        told |= {key: value for key, value in optional.items() if value}
        told |= {"samples_number": quantity.documents} if quantity.documents else {}
    return told


def _of_one_model(
    results: Sequence[Results], about: Publication
) -> tuple[str, tuple[Results, ...], list[Quantity]]:
    label, chosen = results_of_one_model(results, about.model)
    quantities = quantities_of(chosen)
    if not quantities:
        raise L2MError(f"results: no number of {label} is finite; measure more documents")
    return about.name or label, chosen, quantities


# --- tables of several models -----------------------------------------------------------------------------------


def _rows(results: Sequence[Results], about: Publication) -> list[tuple[str, Quantity]]:
    """Every headline number with its model's label."""
    selection = select(results)
    rows = []
    for label in selection.numbers:
        if about.model in (None, label):
            of_model = [one for one in selection.results if selection.labels[one] == label]
            rows += [(about.name or label, quantity) for quantity in quantities_of(of_model)]
    if not rows:
        labels = ", ".join(selection.numbers)
        if about.model is not None and about.model not in selection.numbers:
            raise L2MError(f"model: {about.model!r} is not in these results; they are of {labels}")
        raise L2MError(f"results: no number of {labels} is finite; measure more documents")
    return rows


def _csv(results: Sequence[Results], about: Publication) -> str:
    columns = (
        "model", "corpus", "quantity", "value", "standard_error", "low_95", "high_95", "unit", "higher_is_better",
        "at_least", "documents", "seed", "task", "date", "revision", "dtype", "l2m_eval", "lm_eval", "settings",
        "command",
    )  # fmt: skip
    numeric = {"value", "standard_error", "low_95", "high_95"}
    rows = []
    for label, quantity in _rows(results, about):
        one, estimate = quantity.results, quantity.estimate
        better = {True: "yes", False: "no", None: ""}[quantity.higher_is_better]
        values: list[Any] = [
            label, quantity.corpus, quantity.name, estimate.value, estimate.standard_error, *estimate.interval,
            quantity.unit, better, "yes" if quantity.at_least else "no", quantity.documents, one.seed, one.task,
            one.run.date.isoformat() if one.run.date else "", one.run.revision, one.run.dtype,
            one.versions.get("l2m-eval", ""), one.run.harness, json.dumps(dict(quantity.settings)),
            reproducing_command(one),
        ]  # fmt: skip
        rows.append(
            tuple(
                Cell("", None if value is None else float(value))
                if name in numeric
                else text("" if value is None else value)
                for name, value in zip(columns, values, strict=True)
            )
        )
    return Table(
        "headline", "", tuple(Column(name, name in numeric) for name in columns), tuple(rows)
    ).to_csv()


def paper_tables(results: Sequence[Results], about: Publication | None = None) -> list[Table]:
    """A table for each corpus: models down, headline numbers across."""
    tables = []
    for paper in _papers(results, about or Publication()):
        rows = [(text(label), *cells) for label, cells in zip(paper.labels, paper.cells, strict=True)]
        columns = (Column("model"), *(Column(_heading(one), number=True) for one in paper.quantities))
        tables.append(Table("headline", paper.caption, columns, tuple(rows)))
    return tables


@dataclass(frozen=True)
class _Paper:
    """The headline numbers of models on one corpus: one of each quantity for its name, a cell for each model."""

    caption: str
    labels: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    cells: tuple[tuple[Cell, ...], ...]


def _papers(results: Sequence[Results], about: Publication) -> list[_Paper]:
    by_corpus: dict[str, list[tuple[str, Quantity]]] = {}
    for label, quantity in _rows(results, about):
        by_corpus.setdefault(quantity.corpus, []).append((label, quantity))
    papers = []
    for corpus, found in by_corpus.items():
        first: dict[str, Quantity] = {}
        for _, quantity in found:
            first.setdefault(quantity.name, quantity)
        labels = tuple(dict.fromkeys(label for label, _ in found))
        known = {(label, quantity.name): quantity for label, quantity in found}
        cells = tuple(tuple(_shown_cell(known.get((label, name))) for name in first) for label in labels)
        counts = sorted({q.documents for _, q in found if q.documents is not None})
        caption = (
            f"Measured on {corpus}, {' and '.join(map(str, counts)) or 'unknown'} documents; values with standard "
            "errors over documents. An arrow points to the better direction."
        )
        papers.append(_Paper(caption, labels, tuple(first.values()), cells))
    return papers


def _shown_cell(quantity: Quantity | None) -> Cell:
    return number(None) if quantity is None else number(quantity.estimate.value, shown_value(quantity))


def _latex(results: Sequence[Results], about: Publication) -> str:
    tables = []
    for paper in _papers(results, about):
        headings = [latex_heading(one.name, one.unit, one.higher_is_better) for one in paper.quantities]
        rows = [[cell.text for cell in row] for row in paper.cells]
        tables.append(latex_table(paper.caption, paper.labels, headings, rows))
    return "\n".join(tables)


def _heading(quantity: Quantity) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[quantity.higher_is_better]
    unit = f" ({quantity.unit})" if quantity.unit and quantity.unit != "bits per byte" else ""
    return f"{quantity.name}{unit}{arrow}"


FORMATS: Mapping[str, Callable[[Sequence[Results], Publication], str]] = {
    "hub": _hub,
    "eee": lambda results, about: (
        json.dumps(every_eval_ever(results, about), indent=2, ensure_ascii=False) + "\n"
    ),
    "csv": _csv,
    "markdown": lambda results, about: "\n".join(t.to_markdown() for t in paper_tables(results, about)),
    "latex": _latex,
    "model-index": _model_index,
}
