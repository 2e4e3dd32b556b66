"""The L²M check as a measurement: the bipartite sums of a document, and once the model's own history state.

The state is read where the model is, by whoever answers the requests, and travels in one document's record: the
task itself never sees the model, and the ranks of a distributed run agree on what they have seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState, history_state_size
from l2m_eval.measurements.bipartite import BipartitePlan, BipartiteRequest
from l2m_eval.scoring.windows import Window

if TYPE_CHECKING:
    from l2m_eval.scoring.encoder import Encoder
    from l2m_eval.scoring.scorer import Sums


@dataclass(frozen=True)
class ConditionRequest:
    """The request to the model for one document.

    Attributes:
        bipartite: The document's sums; None where the curves come from saved results.
        lengths: Numbers of tokens at which the state is wanted; None for those of the curve.
        state: What the user states instead of the model's own state: a mapping, or a name as on the command line.
        reads_state: Whether this document's record carries the state. One of a run's does.
    """

    bipartite: BipartiteRequest | None
    lengths: tuple[int, ...] | None
    state: Mapping[str, Any] | str | None
    reads_state: bool

    def __str__(self) -> str:
        parts = [str(self.bipartite)] if self.bipartite is not None else []
        return " and ".join([*parts, *(["the history state"] if self.reads_state else [])]) or "nothing"

    def plan(self, encoder: Encoder) -> ConditionPlan:
        """The windows, and the state as soon as it is known that everything fits: before anything is scored."""
        bipartite = self.bipartite.plan(encoder) if self.bipartite is not None else None
        if not self.reads_state:
            return ConditionPlan(bipartite, None)
        lengths = set(self.lengths or ())
        if bipartite is not None and self.lengths is None:
            lengths = {n for cell in bipartite.measured for n in (cell.left, cell.total)}
        return ConditionPlan(bipartite, state_of_lm(encoder.lm, sorted(lengths), self.state))


@dataclass(frozen=True)
class ConditionPlan:
    """The windows of a document, and the state where its record carries it."""

    bipartite: BipartitePlan | None
    state: HistoryState | None

    @property
    def windows(self) -> list[Window]:
        return self.bipartite.windows if self.bipartite is not None else []

    def record(self, scores: list[Sums]) -> str:
        """The bipartite record, with ``state`` as `HistoryState.to_json` where it was read here."""
        record = json.loads(self.bipartite.record(scores)) if self.bipartite is not None else {}
        if self.state is not None:
            record["state"] = self.state.to_json()
        return json.dumps(record)


def state_of_lm(
    lm: Any, lengths: Sequence[int], declared: Mapping[str, Any] | str | None = None
) -> HistoryState:
    """History state of a harness LM: read from its own model, else counted from its configuration.

    Args:
        lm: Of the ``hf`` backend, whose model runs here; of another with a Hugging Face configuration (vllm); or
            any, with `declared`.
        lengths: Numbers of tokens.
        declared: The state that the user declares instead, if any.

    Raises:
        L2MError: neither a model nor a configuration nor a declared state, or a state that cannot be read.
    """
    if isinstance(declared, Mapping):
        return history_state_size(declared, lengths)
    if declared:
        from l2m_eval.history_state.named import named_history_state

        return named_history_state(declared, lengths)
    how = 'state it: --metadata \'{"state": {"formula": "2*32*8*128*L"}}\' (also a table, a constant, a config.json)'
    model: Any = getattr(lm, "model", None)
    if hasattr(model, "get_base_model"):  # PEFT's wrapper; adapters sit inside the layers of the model below
        model = model.get_base_model()
    source = next((s for s in (model, getattr(lm, "_config", None)) if _is_model_or_configuration(s)), None)
    if source is None:
        raise L2MError(
            f"state: {type(lm).__name__} gives neither a model nor a configuration to read a state from; {how}"
        )
    try:
        return history_state_size(source, lengths)
    except L2MError as error:
        raise L2MError(f"{error} ({how})") from error


def _is_model_or_configuration(source: Any) -> bool:
    return hasattr(source, "model_type") or (hasattr(source, "forward") and hasattr(source, "config"))
