"""``l2m-eval model-card``: results as a Hugging Face metadata block and a section of prose."""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path
from typing import Any

from l2m_eval.cli.command import add_command
from l2m_eval.errors import L2MError

logger = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    parser = add_command(
        commands,
        "model-card",
        run,
        summary="evaluation results for a model card on the Hugging Face hub",
        description="Print the evaluation-results metadata (model-index) and a short section for a model card, or "
        "merge both into an existing card: metrics of the same name are replaced, everything else in the card stays.",
        examples=["l2m-eval model-card out --model my-model", "l2m-eval model-card out --write README.md"],
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="results files, folders or globs")
    parser.add_argument(
        "--model", metavar="LABEL", help="the model the card is about, if the results contain several"
    )
    parser.add_argument("--name", metavar="NAME", help="the model's name in the card (default: its label)")
    parser.add_argument("--write", metavar="README.md", help="merge into this card; created if missing")


def run(parsed: argparse.Namespace) -> int:
    """Print the card, or write it and print its path."""
    from l2m_eval.report.model_card import merged_card, results_of_one_model
    from l2m_eval.results.load import load_results

    label, results = results_of_one_model(load_results(parsed.results, documents=False), parsed.model)
    name = parsed.name or label
    if parsed.write is None:
        print(merged_card("", name, results), end="")
        return 0
    card = Path(parsed.write)
    try:
        with card.open(encoding="utf-8", newline="") as file:
            before = file.read()
    except FileNotFoundError:
        before = ""
    except (OSError, UnicodeDecodeError) as error:
        raise L2MError(
            f"write: {str(card)!r} cannot be read ({error}); give a model card in UTF-8"
        ) from error
    merged = merged_card(before, name, results)
    try:
        _replace(card.resolve(), merged.encode())
    except OSError as error:
        raise L2MError(
            f"write: {str(card)!r} cannot be written ({error.strerror}); give a file to write"
        ) from error
    logger.info("%d result(s) of %s merged", len(results), label)
    print(card)
    return 0


def _replace(file: Path, content: bytes) -> None:
    """Write a file whole or not at all: a full disk costs nobody the card that is there."""
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_bytes(content)
        if file.exists():
            shutil.copymode(file, part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
