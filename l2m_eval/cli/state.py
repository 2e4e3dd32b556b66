"""``l2m-eval state``: how much a model keeps of L tokens."""

from __future__ import annotations

import argparse
import json
import math
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2m_eval.cli.command import add_command, without_collection
from l2m_eval.cli.text import aligned, byte_size
from l2m_eval.errors import L2MError

if TYPE_CHECKING:
    from l2m_eval.history_state import HistoryState, LayerState, StateGrowth

SCHEMA = "l2m-eval/state/1"
DEFAULT_LENGTHS = "256,1024,4096,16384,65536,262144"


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    parser = add_command(
        commands,
        "state",
        run,
        summary="the size of a model's history state after L tokens, and how it grows",
        description="The size of a model's history state, dim z(L): keys and values, compressed latents, recurrent "
        "and convolution states that represent the past of one sequence after L tokens. Counted exactly from the "
        "configuration, without weights, or from your own declaration, for models without a configuration.",
        examples=[
            "l2m-eval state path/to/model",
            "l2m-eval state meta-llama/Llama-3.1-8B --lengths 1024,131072 --json",
            "l2m-eval state path/to/config.json --figure state.svg",
            "l2m-eval state --statement '{formula: 2*layers*width*min(L, 4096), layers: 32, width: 1024}'",
        ],
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a folder with a config.json, such a file, a GGUF file (only its header is read), or a hub id",
    )
    parser.add_argument(
        "--statement",
        metavar="FILE|FORMULA",
        help="instead of a model: a formula in L, a mapping {formula: ..., NAME: VALUE}, {table: {L: elements}} or "
        "{constant: elements} (bits of an element: bits, 16), or a YAML or JSON file that declares one",
    )
    parser.add_argument(
        "--lengths",
        default=DEFAULT_LENGTHS,
        metavar="L,L,...",
        help="numbers of tokens (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, schema l2m-eval/state/1")
    parser.add_argument(
        "--figure", metavar="FILE", help="also draw dim z against L, into an .svg, .png or .pdf file"
    )
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="allow an architecture whose code comes with the model",
    )


def run(parsed: argparse.Namespace) -> int:
    """Print the table, or JSON."""
    if (parsed.model is None) == (parsed.statement is None):
        raise L2MError("model: give either a MODEL or a --statement (see l2m-eval state --help)")
    figure = Path(parsed.figure).expanduser() if parsed.figure else None
    if figure is not None and (figure.suffix not in (".svg", ".png", ".pdf") or not figure.parent.is_dir()):
        raise L2MError(
            f"figure: {parsed.figure!r}; give a file ending in .svg, .png or .pdf in a folder that exists"
        )
    with without_collection():
        from l2m_eval.history_state import state_growth
        from l2m_eval.history_state.named import named_history_state

        state = named_history_state(
            parsed.model if parsed.model is not None else parsed.statement,
            lengths_of(parsed.lengths),
            trust_remote_code=parsed.trust_remote_code,
        )
        growth = state_growth(state)
    if figure is not None:
        _draw(state, figure)
    if parsed.json:
        print(json.dumps(state_json(state, growth), indent=2, ensure_ascii=False))
    else:
        print(state_text(state, growth, notes=not parsed.quiet))
    return 0


def lengths_of(text: str) -> list[int]:
    """Numbers of tokens separated by commas.

    Raises:
        L2MError: one that is not a number.
    """
    lengths = []
    for part in text.split(","):
        try:
            lengths.append(int(part))
        except ValueError:
            raise L2MError(
                f"lengths: {part.strip()!r} is not a number of tokens; give whole numbers separated by commas, for "
                "example 1024,65536"
            ) from None
    return lengths


def state_json(state: HistoryState, growth: StateGrowth) -> dict[str, Any]:
    """Schema ``l2m-eval/state/1``: `HistoryState.to_json` and the fields of `StateGrowth`, null where unknown."""
    fields = ("exponent", "asymptotic_exponent", "saturation_length", "constant_part", "slope_per_token")
    numbers = {name: getattr(growth, name) for name in fields}
    return {
        "schema": SCHEMA,
        **state.to_json(),
        "growth": {
            **{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in numbers.items()},
            "probed_up_to": growth.probed_up_to,
            "context": growth.context,
            "beyond_context": growth.beyond_context,
            "sentence": growth.sentence,
        },
    }


def state_text(state: HistoryState, growth: StateGrowth, *, notes: bool = True) -> str:
    """Sizes at the lengths, what each layer keeps, and how the whole grows."""
    several = len(state.kinds) > 1
    rows = [["tokens", *(state.kinds if several else ()), "elements", "bytes", "bits"]]
    for column, length in enumerate(state.lengths):
        of_kinds = [f"{n:,}" for n in state.elements[:, column]] if several else []
        bits = int(state.total_bits[column])
        rows.append([f"{length:,}", *of_kinds, f"{state.total[column]:,}", byte_size(bits / 8), f"{bits:,}"])
    lines = [
        f"History state of {state.model} ({state.source}), for one sequence{_context(state)}",
        "",
        aligned(rows, left=0),
        "",
        *([] if state.source == "declared" else [*_layer_lines(state), ""]),
        f"The state {growth.sentence}.",
        _growth_line(growth),
    ]
    if notes:
        lines += [f"Note: {note}." for note in state.notes]
    return "\n".join(lines)


def _context(state: HistoryState) -> str:
    return "" if state.context is None else f"; the model accepts {state.context:,} tokens"


def _growth_line(growth: StateGrowth) -> str:
    def shown(value: float) -> str:
        return "unknown" if math.isnan(value) else f"{value:,.10g}"

    where = "at large lengths" if growth.beyond_context is None else f"up to {growth.context:,} tokens"
    parts = [f"γ = {shown(growth.asymptotic_exponent)} {where}"]
    if not math.isnan(growth.exponent):
        exponent = round(growth.exponent, 6) + 0.0  # rounding of a slope that is zero is no slope
        parts.append(f"{exponent:.3g} over these lengths")
    parts.append(f"constant part {shown(growth.constant_part)} elements")
    parts.append(f"slope {shown(growth.slope_per_token)} elements a token")
    if growth.saturation_length is not None and growth.saturation_length > 1:
        parts.append(f"saturates at {growth.saturation_length:,} tokens")
    return "; ".join(parts) + "."


def _layer_lines(state: HistoryState) -> list[str]:
    """What each layer keeps, layers that keep the same in one line."""

    def what(layer: LayerState) -> str:
        return str(layer).partition(": ")[2]

    by_content: dict[str, list[int | None]] = {}
    for layer in state.layers:
        by_content.setdefault(what(layer), []).append(layer.layer)
    return [f"{_layer_numbers(numbers)}: {content}" for content, numbers in by_content.items()]


def _layer_numbers(numbers: list[int | None]) -> str:
    """``layers 0–5, 7``."""
    known = sorted(n for n in numbers if n is not None)
    if not known:
        return "all layers together"
    runs = [[n for _, n in run] for _, run in groupby(enumerate(known), key=lambda pair: pair[1] - pair[0])]
    shown = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
    return f"layer{'' if len(known) == 1 else 's'} {shown}"


def _draw(state: HistoryState, file: Path) -> None:
    try:
        from l2m_eval.report.figures.axes import new_figure
        from l2m_eval.report.figures.history_state import plot_history_state
        from l2m_eval.report.figures.style import drawing
    except ImportError as error:
        raise L2MError(f"figure: {error}; pip install 'l2m-eval[figures]'") from error
    with drawing():
        figure, axes = new_figure(3.4, 2.6)
        plot_history_state(state, axes)
        figure.savefig(file)
