"""The result of one trained model, as stored in ``results.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from l2m_eval.errors import L2MError


@dataclass(frozen=True)
class TrainedResult:
    """The divergence of one model, trained and measured at one length.

    Attributes:
        variant, model, kind: Names from the plan.
        length: L, tokens.
        kl, kl_error: KL per token over all positions, nats, and its standard error over documents.
        terms: ``full``: over the full vocabulary; ``sampled``: by the tokens that came.
        bins: Name, first and last position of each bin; kl_by_bin, error_by_bin: KL per token in it.
        information: Exact I(L/2; L) of the process, nats.
        state: Elements of history state after L tokens, from the model's configuration.
        parameters: Of the model.
        documents: That the divergence was measured on.
        seconds: Of training and measuring, on the device.
        device: What it ran on.
        fingerprint: Of everything the result depends on; a result of another plan is made anew.
    """

    variant: str
    model: str
    kind: str
    length: int
    kl: float
    kl_error: float
    terms: str
    bins: tuple[tuple[str, int, int], ...]
    kl_by_bin: tuple[float, ...]
    error_by_bin: tuple[float, ...]
    information: float
    state: float
    parameters: int
    documents: int
    seconds: float
    device: str
    fingerprint: str

    @property
    def information_per_element(self) -> float:
        """Bipartite information per element of history state, nats."""
        return self.information / self.state

    def save(self, file: Path) -> None:
        """Write as JSON, whole or not at all."""
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        part.replace(file)


def load_result(file: Path) -> TrainedResult | None:
    """A saved result; None where there is none, or one of another version."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        content["bins"] = tuple((str(n), int(a), int(b)) for n, a, b in content["bins"])
        for key in ("kl_by_bin", "error_by_bin"):
            content[key] = tuple(content[key])
        return TrainedResult(**content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return None


def load_results(folder: Path) -> list[TrainedResult]:
    """All results under a folder, by variant, models of small state first, and length.

    Raises:
        L2MError: there is none.
    """
    found = [load_result(file) for file in sorted(folder.glob("*/*/L*/result.json"))]
    results = [result for result in found if result is not None]
    if not results:
        raise L2MError(
            f"output: {folder} holds no results; run l2m-eval reproduce synthetic --output {folder}"
        )
    largest = {
        model: max(r.state for r in results if (r.variant, r.model) == model)
        for model in {(r.variant, r.model) for r in results}
    }
    return sorted(results, key=lambda r: (r.variant, largest[r.variant, r.model], r.model, r.length))


def results_table(results: Sequence[TrainedResult]) -> list[str]:
    """KL per token (in thousandths of a nat) by model and length, as Markdown lines, one table per variant."""
    lines: list[str] = []
    for variant in dict.fromkeys(result.variant for result in results):
        chosen = [result for result in results if result.variant == variant]
        lengths = sorted({result.length for result in chosen})
        lines += ["", f"**{variant}**: KL per token, thousandths of a nat", ""]
        lines.append("| model | parameters | state at L = " + f"{lengths[-1]} | " + " | ".join(
            f"L = {length}" for length in lengths) + " |")  # fmt: skip
        lines.append("| --- " * (3 + len(lengths)) + "|")
        for model in dict.fromkeys(result.model for result in chosen):
            by_length = {result.length: result for result in chosen if result.model == model}
            last = by_length[max(by_length)]
            cells = [
                f"{1000 * by_length[length].kl:.2f} ± {1000 * by_length[length].kl_error:.2f}"
                if length in by_length
                else ""
                for length in lengths
            ]
            lines.append(f"| {model} | {last.parameters:,} | {last.state:,.0f} | " + " | ".join(cells) + " |")
        shared = {result.length: result.information for result in chosen}
        lines.append(
            "| exact I(L/2; L), nats | | | "
            + " | ".join(f"{shared[length]:.2f}" for length in lengths)
            + " |"
        )
    return lines[1:]
