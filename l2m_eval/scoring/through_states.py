"""Windows scored behind a smaller state: their context is read once, and the target behind each state made of it.

All but the last token of the context is read, the state is made smaller, and the last token and the target are read
behind it, as the next token is in generation: nothing of what stands before reaches the target but through the state.
At most two states of a batch are in memory, the whole one and one that was made of it.

A model is asked once whether this is right for it: behind a copy of its whole state it must predict what it predicts
of the text read in one pass, and behind a state with entries dropped what it predicts where a mask hides these.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from l2m_eval.errors import L2MError, cause
from l2m_eval.history_state.smaller import FULL, Pressed, SmallerState, Way, require_libraries, way_named
from l2m_eval.history_state.smaller import Window as Evicted
from l2m_eval.history_state.smaller.layers import attends
from l2m_eval.scoring.memory import is_out_of_memory
from l2m_eval.scoring.scorer import Scored
from l2m_eval.scoring.windows import Tree, Window

if TYPE_CHECKING:
    from l2m_eval.scoring.huggingface import HuggingFaceScorer

logger = logging.getLogger(__name__)

# Tokens of the check: read, read behind, the window that is kept, and the first tokens.
_READ, _BEHIND, _WINDOW, _SINKS = 24, 8, 6, 2


def way_of(name: str) -> Way:
    """The way of a window's `state`."""
    return FULL if name == FULL.name else way_named("states", name)


class ThroughStates:
    """Reads windows behind states with the hf scorer whose model it is."""

    def __init__(self, scorer: HuggingFaceScorer):
        self._scorer = scorer
        self._may_change = self._may_drop = False

    @torch.no_grad()
    def check(self, windows: Sequence[Window], fixed_up_to: int | None) -> None:
        """Whether the model can read these windows behind their states.

        Args:
            windows: Each with a state.
            fixed_up_to: See `RotaryFrequencies`.

        Raises:
            L2MError: its state cannot be changed, or not in the way that is asked for.
        """
        ways = [way_of(name) for name in sorted({window.state for window in windows})]
        require_libraries(ways)
        longest = max(len(window) - 1 for window in windows)
        if fixed_up_to is not None and max(longest, _READ + _BEHIND) > fixed_up_to:
            raise L2MError(
                f"states: {self._scorer.model_name} has positions that depend on how much is read at once beyond "
                f"{fixed_up_to} tokens, so that its state of {longest} tokens cannot be gone on from; give lengths "
                "below that"
            )
        if not self._may_change:
            self._check_whole_state()
            self._may_change = True
        evicting = [way for way in ways if isinstance(way, (Evicted, Pressed))]
        if self._scorer.biased_by_distance and any(isinstance(way, Pressed) or way.sinks for way in evicting):
            # With a gap behind the first tokens they would be taken for nearer ones.
            raise self._refused(
                "it tells distances by the entries of its cache, so that sinks cannot be kept, nor a press's choice"
            )
        if evicting and not self._may_drop:
            self._check_dropping()
            self._may_drop = True

    def score(self, trees: Sequence[Tree]) -> list[tuple[Window, Scored]]:
        """The scores of trees of one shape, read side by side."""
        known = len(trees[0].trunk.context) - 1
        state = self._state_of([tree.trunk.context[:-1] for tree in trees])
        answers: list[tuple[Window, Scored]] = []
        for number in range(1 + len(trees[0].branches)):
            windows = [(tree.trunk, *tree.branches)[number] for tree in trees]
            way = way_of(windows[0].state)
            again = isinstance(way, Pressed)
            smaller = self._pressed(way, windows) if isinstance(way, Pressed) else way.of(state)
            bits = smaller.bits / len(trees)
            found, _ = self._scorer.read(windows, smaller.cache, known)
            del smaller
            for window, scored in found:
                read = scored.tokens + (known if number == 0 else 0) + (known if again else 0)
                answers.append((window, Scored(np.append(scored.sums, bits), read)))
        return answers

    def _pressed(self, way: Pressed, windows: Sequence[Window]) -> SmallerState:
        """The state of the windows' contexts, read again under a press.

        Raises:
            L2MError: the press does not know the model, or the text is too short for it.
        """
        texts = [window.context[:-1] for window in windows]
        try:
            with way.during()(self._scorer.model):
                state = self._state_of(texts)
            return way.made(state, len(texts[0]))
        except Exception as error:  # whatever a press does with a model that it was not made for
            if is_out_of_memory(error):
                raise
            raise L2MError(
                f"states: {way.name} cannot press {self._scorer.model_name} after {len(texts[0]):,} tokens: "
                f"{cause(error)}"
            ) from error

    def _state_of(self, texts: Sequence[Any]) -> Any:
        _, state = self._scorer.run_body(torch.from_numpy(np.stack(texts)), keep_state=True)
        return state

    def _check_whole_state(self) -> None:
        """Read the same text at once and behind a copy of the state of its beginning, twice.

        Raises:
            L2MError: the model gives no state, one of a kind that is not known, or one that it does not go on from.
        """
        if not self._scorer.separable:
            raise self._refused("its head cannot be run apart from its body")
        try:
            difference = self._whole_state_differs_by()
            if not difference <= self._allowed:
                self._scorer.token_by_token = True
                difference = self._whole_state_differs_by()
        except Exception as error:  # whatever a model without such a state does
            raise self._error(error) from error
        if not difference <= self._allowed:
            raise self._refused(f"read behind it, log-probabilities differ by {difference:.2g}")
        if self._scorer.token_by_token:
            logger.warning(
                "l2m-eval: %s goes on from its state by one token at a time, which takes longer",
                self._scorer.model_name,
            )

    @property
    def _allowed(self) -> float:
        """What rounding may change the sum of the tokens behind a state by: that of each has its own sign."""
        scorer = self._scorer
        return max(_BEHIND * scorer.relative_rounding, math.sqrt(_BEHIND) * scorer.rounding)

    def _whole_state_differs_by(self) -> float:
        """Nats between a text read at once and behind a copy of the state of its beginning, the larger of twice."""
        context, target = self._some_text()
        whole = Window(context, target, (len(target),), "check")
        [(_, plain)], _ = self._scorer.read([whole])
        state = self._state_of([context[:-1]])
        behind = [
            self._scorer.read([whole], FULL.of(state).cache, len(context) - 1)[0][0][1] for _ in range(2)
        ]
        return max(float(np.abs(scored.sums - plain.sums).max()) for scored in behind)

    def _check_dropping(self) -> None:
        """Compare a state with entries dropped with the whole one under a mask that hides these from what is read.

        Raises:
            L2MError: the two differ, or the model takes no mask.
        """
        context, target = self._some_text()
        known, ids = len(context) - 1, torch.from_numpy(np.concatenate([context[-1:], target[:-1]]))[None]
        try:
            state = self._state_of([context[:-1]])
            layers = [layer for layer in state.layers if attends(layer)]
            if not layers:  # nothing is dropped of a recurrent state
                return
            sliding = any(getattr(layer, "is_sliding", False) for layer in layers)
            sinks = 0 if sliding or self._scorer.biased_by_distance else _SINKS
            seen = torch.ones((1, known + len(target)), dtype=torch.bool)
            seen[:, sinks : known - _WINDOW + 1] = False
            masked = self._scorer.run_body(ids, FULL.of(state).cache, mask=seen)[0].last_hidden_state.float()
            dropped = Evicted(_WINDOW, sinks).of(state).cache
            hidden = self._scorer.run_body(ids, dropped)[0].last_hidden_state.float()
        except Exception as error:  # whatever a model does that takes no such mask
            raise self._error(error) from error
        difference = float((hidden - masked).abs().max() / masked.abs().max())
        if not difference <= self._scorer.relative_rounding:
            raise self._refused(
                f"entries cannot be dropped from it: hidden states differ by {100 * difference:.2g} % from those "
                "under a mask"
            )

    def _some_text(self) -> tuple[Any, Any]:
        """A context and a target of random tokens."""
        tokens = np.random.default_rng(0).integers(0, self._scorer.some_tokens, _READ + _BEHIND)
        return tokens[:_READ], tokens[_READ:]

    def _error(self, error: Exception) -> Exception:
        """What a failure of a check means: memory is found by others, all else is the model's kind of state."""
        if is_out_of_memory(error):
            return error
        return self._refused(cause(error))

    def _refused(self, reason: str) -> L2MError:
        return L2MError(
            f"states: the state of {self._scorer.model_name} cannot be changed: {reason}; shorter contexts "
            "(context256) need no state"
        )
