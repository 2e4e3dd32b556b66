"""Windows in, sums of log-probabilities out, for any LM of the harness."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l2m_eval.errors import L2MError, shown
from l2m_eval.scoring.tokens import Encoder
from l2m_eval.windows import Window

if TYPE_CHECKING:
    from l2m_eval.scoring.finished import FinishedWindows

logger = logging.getLogger(__name__)

# Pieces of a window that the portable scorer will ask for one by one: bins and splits, never single tokens.
MOST_PIECES = 256
# Windows between two writes of a run that can be continued, for scorers without batches of their own.
KEPT_AT_ONCE = 64

Sums = NDArray[np.float64]
Advance = Callable[[int], Any]


class Plan(Protocol):
    """What a document's result needs scored, and how the scores become the result."""

    @property
    def windows(self) -> list[Window]: ...

    def record(self, scores: list[Sums]) -> str:
        """The document's result, as JSON, from the sums of its windows in their order."""


class ScoringRequest(Protocol):
    """What a task asks of a model for one document."""

    def plan(self, encoder: Encoder) -> Plan:
        """The windows to score, under the model's tokenizer."""


@dataclass(frozen=True)
class Scored:
    """A window's answer.

    Attributes:
        sums: Log-probabilities of the pieces between its cuts, in nats.
        tokens: How many tokens were fed to the model for them.
    """

    sums: Sums
    tokens: int


class Scorer(Protocol):
    """Scores windows, given longest first. `advance` is told how many of their tokens are done."""

    def __call__(self, windows: Sequence[Window], advance: Advance) -> list[Scored]: ...


def score_requests(
    lm: Any, requests: Sequence[ScoringRequest], progress: bool = True, tasks: Sequence[str] = ()
) -> list[str]:
    """Answer the requests of our tasks with the model `lm`.

    All windows of all documents are planned and checked before the first is scored, equal ones are scored
    once, and the scorer sees them longest first.

    Args:
        lm: Any LM of the harness.
        requests: One for each document of each task.
        progress: Whether to show bars.
        tasks: Whose each request is, where they are of several tasks.

    Raises:
        L2MError: a backend without token log-likelihoods, a window that does not fit the model, or a
            log-probability that is not finite.
    """
    from tqdm import tqdm

    from l2m_eval.scoring.finished import finished_windows

    encoder = Encoder(lm)
    show = progress and getattr(lm, "rank", 0) == 0
    with tqdm(requests, desc="Tokenizing", disable=not show, leave=False) as bar:
        plans = [request.plan(encoder) for request in bar]
    unique: dict[tuple[bytes, bytes, tuple[int, ...]], Window] = {}
    for plan in plans:
        for window in plan.windows:
            unique.setdefault(window.key, window)
    for window in unique.values():
        if len(window) > encoder.longest + 1:
            raise L2MError(
                f"lengths: the window of {window.label} has {len(window)} tokens with its prefix, the model reads "
                f"{encoder.longest + 1}; give shorter lengths, or a larger max_length in --model_args"
            )
    order = sorted(unique, key=lambda key: -len(unique[key]))
    ordered = [unique[key] for key in order]
    if not ordered:  # a measurement of the text alone, under the model's tokenizer
        return [plan.record([]) for plan in plans]
    scorer = choose_scorer(lm)
    if isinstance(scorer, PortableScorer) and any(len(window.cuts) > MOST_PIECES for window in ordered):
        raise L2MError(
            f"curve: full needs the log-probability of every token, and {type(lm).__name__} gives sums, one "
            "request for each; use curve: bins with it"
        )
    with tqdm(
        total=sum(map(len, ordered)), desc="Scoring", unit="token", unit_scale=True, disable=not show
    ) as bar:
        results = _scored(scorer, ordered, bar.update, finished_windows(lm))
    scores = dict(zip(order, results, strict=True))
    for key, scored in scores.items():
        if not np.isfinite(scored.sums).all():
            bad = "NaN" if np.isnan(scored.sums).any() else "infinite"
            raise L2MError(f"model: {bad} log-probability in the window of {unique[key].label}")
    records = []
    counted: set[tuple[str, tuple[bytes, bytes, tuple[int, ...]]]] = set()
    for plan, task in zip(plans, tasks or [""] * len(plans), strict=True):
        keys = [window.key for window in plan.windows]
        record = json.loads(plan.record([scores[key].sums for key in keys]))
        if "tokens_scored" in record:
            # What was fed, which only the scorer knows; a window of several documents counts with the first, and
            # one of several tasks with each, so that what a task costs does not depend on its company.
            new = {(task, key) for key in keys} - counted
            record["tokens_scored"] = sum(scores[key].tokens for _, key in new)
            counted |= new
        records.append(json.dumps(record))
    return records


def _scored(
    scorer: Scorer, windows: Sequence[Window], advance: Advance, finished: FinishedWindows | None
) -> list[Scored]:
    """The scores of windows, those of an earlier run taken from where it kept them (see `scoring.finished`)."""
    if finished is None:
        return scorer(windows, advance)
    from l2m_eval.scoring.huggingface import HuggingFaceScorer

    if isinstance(scorer, HuggingFaceScorer):
        return scorer(windows, advance, finished)
    scored: list[Scored] = []
    for start in range(0, len(windows), KEPT_AT_ONCE):
        group = windows[start : start + KEPT_AT_ONCE]
        kept = finished.get(group)
        if kept is None:
            kept = scorer(group, advance)
            finished.put(list(zip(group, kept, strict=True)))
        else:
            advance(sum(map(len, group)))
        scored += kept
    return scored


def choose_scorer(lm: Any) -> Scorer:
    """The fastest scorer that serves this LM; the portable one serves every backend with token ids.

    It stays with the LM: what it found out (whether the head can be run alone, the batch size) holds for all
    tasks of a run.
    """
    if not hasattr(lm, "_l2m_scorer"):
        lm._l2m_scorer = _make_scorer(lm)
    scorer: Scorer = lm._l2m_scorer
    return scorer


def _make_scorer(lm: Any) -> Scorer:
    from l2m_eval.scoring.api import CompletionsScorer
    from l2m_eval.scoring.huggingface import HuggingFaceScorer
    from l2m_eval.scoring.vllm import VLLMScorer

    for scorer in (HuggingFaceScorer, CompletionsScorer, VLLMScorer):
        if scorer.serves(lm):
            return scorer(lm)
    if hasattr(lm, "token_log_probs"):
        return PerTokenScorer(lm)
    if hasattr(lm, "_loglikelihood_tokens"):
        return PortableScorer(lm)
    raise L2MError(
        f"model: {type(lm).__name__} gives no token-level log-likelihoods; use hf, vllm or local-completions"
    )


class PortableScorer:
    """Any backend with the harness' `_loglikelihood_tokens`: one request for each piece of a window."""

    def __init__(self, lm: Any):
        self._lm = lm

    def __call__(self, windows: Sequence[Window], advance: Advance) -> list[Scored]:
        requests = []
        for window in windows:
            ids = np.concatenate([window.context, window.target]).tolist()
            start = len(window.context)
            for low, high in zip((0, *window.cuts), window.cuts, strict=False):
                context, piece = ids[: start + low], ids[start + low : start + high]
                requests.append((cache_key(context, piece), context, piece))
        try:
            answers = [
                math.nan if answer is None or answer[0] is None else float(answer[0])
                for answer in self._lm._loglikelihood_tokens(requests)
            ]
        except NotImplementedError as error:
            raise L2MError(
                f"model: {type(self._lm).__name__} has no token-level log-likelihoods ({error}); "
                "use hf, vllm or local-completions"
            ) from error
        if len(answers) != len(requests):
            raise L2MError(
                f"model: {type(self._lm).__name__} answered {len(answers)} of {len(requests)} scoring requests"
            )
        scored = []
        position = 0
        for window in windows:
            pieces = slice(position, position + len(window.cuts))
            fed = sum(len(context) + len(piece) for _, context, piece in requests[pieces])
            scored.append(Scored(np.asarray(answers[pieces], float), fed))
            position += len(window.cuts)
            advance(len(window))
        return scored


class PerTokenScorer:
    """An LM that offers `token_log_probs(sequences)`: log p(w_t | w_<t) of sequences without their prefix."""

    sequences_at_once = 64

    def __init__(self, lm: Any):
        self._lm = lm

    def __call__(self, windows: Sequence[Window], advance: Advance) -> list[Scored]:
        scored = []
        for start in range(0, len(windows), self.sequences_at_once):
            batch = windows[start : start + self.sequences_at_once]
            sequences = [np.concatenate([window.context[1:], window.target]) for window in batch]
            answers = [np.asarray(answer) for answer in self._lm.token_log_probs(sequences)]
            shapes = [answer.shape for answer in answers]
            if shapes != [(len(sequence),) for sequence in sequences]:
                raise L2MError(
                    f"model: {type(self._lm).__name__}.token_log_probs answered {shown(shapes)} for sequences of "
                    f"{shown([len(sequence) for sequence in sequences])} tokens; it must give one number for each"
                )
            for window, log_probs in zip(batch, answers, strict=True):
                sums = sums_between_cuts(log_probs[len(window.context) - 1 :], window.cuts)
                scored.append(Scored(sums, len(window)))
                advance(len(window))
        return scored


def cache_key(context: Sequence[int], target: Sequence[int]) -> tuple[str, str]:
    """Under what backends file an answer in the harness' response cache: it must tell windows apart."""
    digest = hashlib.sha256(np.asarray([*context, -1, *target]).tobytes()).hexdigest()
    return f"l2m-eval {digest}", ""


def sums_between_cuts(log_probs: NDArray[Any], cuts: Sequence[int]) -> Sums:
    """Sums of per-token log-probabilities of the pieces between cuts, in float64."""
    return np.add.reduceat(log_probs.astype(np.float64), [0, *cuts[:-1]])[: len(cuts)]
