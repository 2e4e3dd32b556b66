"""Windows in, sums of log-probabilities out, for any LM of the harness."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.history_state.smaller import FULL
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.scoring.finished import finished_windows
from l2m_eval.scoring.plausible import check_first_answers
from l2m_eval.scoring.portable import PerTokenScorer, PortableScorer
from l2m_eval.scoring.scorer import Scorer, ScoringRequest
from l2m_eval.scoring.windows import Window, WindowKey


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

    encoder = Encoder(lm)
    show = progress and getattr(lm, "rank", 0) == 0
    with tqdm(requests, desc="Tokenizing", disable=not show, leave=False) as bar:
        plans = [request.plan(encoder) for request in bar]
    unique: dict[WindowKey, Window] = {}
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
    most = scorer.most_pieces
    if most is not None and any(len(window.cuts) > most for window in ordered):
        raise L2MError(
            f"curve: full needs the log-probability of every token, and {type(lm).__name__} gives sums, one "
            "request for each; use curve: bins with it"
        )
    through = ", ".join(sorted({window.state for window in ordered} - {"", FULL.name}))
    if through and not scorer.changes_states:
        raise L2MError(
            f"states: {through} needs the state of the model, which {type(lm).__name__} does not give; use hf, or "
            "shorter contexts alone, for example context256"
        )
    if scorer.asks_first and not getattr(lm, "_l2m_answers_checked", False):
        check_first_answers(lm, scorer, ordered, encoder.note)
        lm._l2m_answers_checked = True
    with tqdm(
        total=sum(map(len, ordered)), desc="Scoring", unit="token", unit_scale=True, disable=not show
    ) as bar:
        results = scorer(ordered, bar.update, finished_windows(lm))
    scores = dict(zip(order, results, strict=True))
    for key, scored in scores.items():
        if not np.isfinite(scored.sums).all():
            bad = "NaN" if np.isnan(scored.sums).any() else "infinite"
            raise L2MError(f"model: {bad} log-probability in the window of {unique[key].label}")
    records = []
    counted: set[tuple[str, WindowKey]] = set()
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

    # The fastest first.
    for scorer in (HuggingFaceScorer, CompletionsScorer, VLLMScorer, PerTokenScorer, PortableScorer):
        if scorer.serves(lm):
            made: Scorer = scorer(lm)
            return made
    raise L2MError(
        f"model: {type(lm).__name__} gives no token-level log-likelihoods; use hf, vllm or local-completions"
    )
