"""From harness results to a folder with the page, figures, tables and ``report.json``.

``report.json`` has the schema ``l2m-eval/report/1``, described in ``docs/report.md``.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l2m_eval import __version__
from l2m_eval.condition.law import PUBLISHED, ScalingLaw, published_law
from l2m_eval.errors import L2MError
from l2m_eval.report.contents import Report, Section
from l2m_eval.report.page import render_page
from l2m_eval.report.reproduce import reproducing_command
from l2m_eval.report.sections.bipartite import bipartite_section, shapes_section
from l2m_eval.report.sections.condition import state_section
from l2m_eval.report.sections.context_use import context_section
from l2m_eval.report.sections.curves import position_section, two_point_section
from l2m_eval.report.sections.differences import comparison_section
from l2m_eval.report.sections.kl import kl_section
from l2m_eval.report.sections.runs import settings_section, warnings_section
from l2m_eval.report.sections.smaller_state import smaller_state_section
from l2m_eval.report.sections.summary import summary_rows, summary_sentences, summary_table
from l2m_eval.report.selection import (
    Selection,
    bipartite_groups,
    context_use_groups,
    kl_groups,
    position_groups,
    select,
    state_groups,
    two_point_groups,
)
from l2m_eval.report.states import known_states, verdicts_on_states
from l2m_eval.results.comparable import corpus_in_words
from l2m_eval.results.run import Results

logger = logging.getLogger(__name__)

_OURS = re.compile(r"(figures/[a-z0-9-]+\.(svg|png)|tables/[a-z0-9-]+\.(csv|md))")


@dataclass(frozen=True)
class Options:
    """What a report can be asked for.

    Attributes:
        title: Of the page.
        every: Show every run, not only the newest of each model, task and corpus.
        states: From model labels to history states, or their names as `l2m_eval.history_state.named` reads them.
        reference: A published law by name, against which states are checked and which is drawn; or the label of a
            model, against which the others are checked (MI-capability).
        references: Further published laws to draw.
        command: The command line that made the report.
    """

    title: str = "L²M report"
    every: bool = False
    states: Mapping[str, Any] | None = None
    reference: str | None = None
    references: tuple[str, ...] = ()
    command: str = "l2m-eval report RESULTS -o DIR"


def make_report(results: Sequence[Results], options: Options | None = None) -> Report:
    """Everything a report says about these results.

    Raises:
        L2MError: an unknown reference or state, or nothing to show.
    """
    options = options or Options()
    selection = select(results, every=options.every)
    law, model = _reference(options, selection)
    laws: list[str | ScalingLaw] = [published_law(name) for name in options.references]
    if law is not None and options.reference not in options.references:
        laws.insert(0, law)
    states, unknown = known_states(selection, options.states or {})
    bipartite, two_point = bipartite_groups(selection), two_point_groups(selection)
    position, context_use = position_groups(selection), context_use_groups(selection)
    verdicts = verdicts_on_states(selection, states, options.states or {}, law or model)
    divergences, smaller = kl_groups(selection), state_groups(selection)
    sections: list[Section | None] = [  # the most telling first
        bipartite_section(bipartite, laws) if bipartite else None,
        context_section(selection, context_use),
        state_section(bipartite, states, law or model, verdicts, unknown) if bipartite else None,
        smaller_state_section(smaller, bipartite) if smaller else None,
        position_section(position) if position else None,
        comparison_section(bipartite, position, model, verdicts),
        kl_section(divergences) if divergences else None,
        two_point_section(two_point) if two_point else None,
        shapes_section(bipartite) if bipartite else None,
    ]
    notices = [notice for section in sections if section is not None for notice in section.notices]
    sections.append(warnings_section(selection, ()))
    sections.append(settings_section(selection, options.command))
    rows = summary_rows(selection)
    summary = summary_table(rows, states, verdicts) if rows else None
    overview = Section(
        "overview",
        "Overview",
        (*summary_sentences(rows), _overview(selection, notices)),
        lead=() if summary is None else (summary,),
    )
    shown = (overview, *(section for section in sections if section is not None))
    return Report(
        options.title,
        _subtitle(selection),
        f"Made by l2m-eval {__version__} from {len(selection.results)} result(s) of lm-evaluation-harness.",
        shown,
        {"results": [_result_data(one, selection) for one in selection.results]},
    )


def write_report(report: Report, folder: str | Path) -> list[Path]:
    """Write the report; files of an earlier report there that this one has not are removed.

    Returns:
        The files written, the page first.

    Raises:
        L2MError: the folder cannot be written.
    """
    target = Path(folder)
    files: dict[str, bytes] = {report.page: render_page(report).encode()}
    for figure in report.figures:
        files[f"figures/{figure.name}.svg"] = figure.svg.encode()
        files[f"figures/{figure.name}.png"] = figure.png
    for table in report.tables:
        files[f"tables/{table.name}.csv"] = table.to_csv().encode()
        files[f"tables/{table.name}.md"] = table.to_markdown().encode()
    files[report.data_file] = _json(report, sorted(files)).encode()
    try:
        target.mkdir(parents=True, exist_ok=True)
        root = target.resolve()
        _remove_earlier(root, report.data_file, set(files))
        written = []
        for name, content in files.items():
            file = target / name
            file.parent.mkdir(exist_ok=True)
            if not file.parent.resolve().is_relative_to(root) or file.is_symlink():
                raise L2MError(f"output: {str(file)!r} leads out of {str(target)!r}; remove that link")
            file.write_bytes(content)
            written.append(file)
    except OSError as error:
        raise L2MError(
            f"output: {str(target)!r} cannot be written ({error.strerror or error}); give a folder with -o"
        ) from error
    return written


def _remove_earlier(root: Path, data_file: str, keep: set[str]) -> None:
    """Remove what an earlier report listed as its own and this one does not write."""
    try:
        data = json.loads((root / data_file).read_text(encoding="utf-8"))
        listed = (
            data["files"]
            if str(data.get("schema", "")).startswith(("l2m-eval/report/", "l2m-eval/leaderboard/"))
            else []
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    for name in listed:
        if isinstance(name, str) and _OURS.fullmatch(name) and name not in keep:
            file = root / name
            if file.parent.resolve() == root / name.partition("/")[0] and file.is_file():
                file.unlink()


def _reference(options: Options, selection: Selection) -> tuple[ScalingLaw | None, str | None]:
    """A published law, or the label of a model."""
    name = options.reference
    if name is None:
        return None, None
    if name in PUBLISHED:
        return published_law(name), None
    if name in selection.numbers:
        return None, name
    raise L2MError(
        f"reference: {name!r} is neither a published curve ({', '.join(PUBLISHED)}) nor a model of these results "
        f"({', '.join(selection.numbers)})"
    )


def _subtitle(selection: Selection) -> str:
    dates = sorted(one.run.date for one in selection.results if one.run.date is not None)
    when = ""
    if dates:
        first, last = dates[0].strftime("%Y-%m-%d"), dates[-1].strftime("%Y-%m-%d")
        when = f", measured {first}" if first == last else f", measured {first} to {last}"
    models = list(selection.numbers)
    who = ", ".join(models) if len(models) <= 4 else f"{', '.join(models[:4])} and {len(models) - 4} more"
    return f"{who}{when}."


def _overview(selection: Selection, notices: Sequence[str]) -> str:
    corpora = list(dict.fromkeys(corpus_in_words(one) for one in selection.results))
    count = len(selection.numbers)
    sentences = [
        f"{count} model{'s' if count > 1 else ''}, {len(selection.results)} "
        f"result{'s' if len(selection.results) > 1 else ''}, on {'; '.join(corpora)}."
    ]
    seconds = {one.run.path: one.run.seconds for one in selection.results if math.isfinite(one.run.seconds)}
    if seconds:
        sentences.append(f"All runs together took {sum(seconds.values()):,.0f} seconds.")
    if notices:
        count = len(set(notices))
        sentences.append(f"{count} note{'s are' if count > 1 else ' is'} shown where they apply.")
    return " ".join(sentences)


def _result_data(one: Results, selection: Selection) -> dict[str, Any]:
    return {
        "label": selection.labels[one],
        "backend": one.run.backend,
        "task": one.task,
        "kind": one.kind,
        "schema": one.schema,
        "corpus": corpus_in_words(one),
        "file": one.run.path.name,
        "date": one.run.date.isoformat() if one.run.date else None,
        "wall_clock_seconds": one.run.seconds,
        "documents": one.sample.get("documents"),
        "tokens_scored_per_document": one.metrics.get("tokens_scored"),
        "seed": one.seed,
        "settings": one.settings,
        "sample": one.sample,
        "versions": one.versions,
        "warnings": one.warnings,
        "metrics": one.metrics,
        "standard_errors": one.errors,
        "command": reproducing_command(one),
    }


def _json(report: Report, files: Sequence[str]) -> str:
    data = {
        "schema": report.schema,
        "l2m_eval": __version__,
        "title": report.title,
        **report.data,
        "figures": [
            {
                "name": figure.name,
                "title": figure.title,
                "sentences": figure.sentences,
                "series": figure.series,
            }
            for figure in report.figures
        ],
        "tables": [
            {
                "name": table.name,
                "caption": table.caption,
                "columns": [column.heading for column in table.columns],
                "rows": [
                    [
                        cell.value if column.number else cell.text
                        for column, cell in zip(table.columns, row, strict=True)
                    ]
                    for row in table.rows
                ],
            }
            for table in report.tables
        ],
        "verdicts": [{"label": v.label, **v.verdict.to_json()} for v in report.verdicts],
        "notices": list(dict.fromkeys(notice for section in report.sections for notice in section.notices)),
        "files": [*files, report.data_file],
    }
    return json.dumps(_plain(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """JSON types alone; what is infinite or unknown is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return (
        asdict(value)
        if hasattr(value, "__dataclass_fields__")
        else os.fspath(value)
        if isinstance(value, os.PathLike)
        else str(value)
    )
