"""Windows in, sums of log-probabilities out, for any LM of the harness."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l2m_eval.errors import L2MError
from l2m_eval.scoring.tokens import Encoder
from l2m_eval.windows import Window

logger = logging.getLogger(__name__)

# Pieces of a window that the portable scorer will ask for one by one: bins and splits, never single tokens.
MOST_PIECES = 256

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


class Scorer(Protocol):
    """Scores windows: for each, the sums between its cuts. `advance` is told how many tokens are done."""

    def __call__(self, windows: Sequence[Window], advance: Advance) -> list[Sums]: ...


def score_requests(lm: Any, requests: Sequence[ScoringRequest], progress: bool = True) -> list[str]:
    """Answer the requests of our tasks with the model `lm`.

    All windows of all documents are planned and checked before the first is scored, equal ones are scored
    once, and the scorer sees them longest first.

    Raises:
        L2MError: a backend without token log-likelihoods, a window that does not fit the model, or a
            log-probability that is not finite.
    """
    from tqdm import tqdm

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
        results = scorer(ordered, bar.update)
    scores = dict(zip(order, results, strict=True))
    for key, sums in scores.items():
        if not np.isfinite(sums).all():
            bad = "NaN" if np.isnan(sums).any() else "infinite"
            raise L2MError(f"model: {bad} log-probability in the window of {unique[key].label}")
    return [plan.record([scores[window.key] for window in plan.windows]) for plan in plans]


def choose_scorer(lm: Any) -> Scorer:
    """The fastest scorer that serves this LM; the portable one serves every backend with token ids."""
    from l2m_eval.scoring.huggingface import HuggingFaceScorer

    if HuggingFaceScorer.serves(lm):
        return HuggingFaceScorer(lm)
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

    def __call__(self, windows: Sequence[Window], advance: Advance) -> list[Sums]:
        requests = []
        for window in windows:
            ids = np.concatenate([window.context, window.target]).tolist()
            start = len(window.context)
            for low, high in zip((0, *window.cuts), window.cuts, strict=False):
                context, piece = ids[: start + low], ids[start + low : start + high]
                # Backends file partial results under this key in their response cache; it must tell windows apart.
                digest = hashlib.sha256(np.asarray([*context, -1, *piece]).tobytes()).hexdigest()
                requests.append(((f"l2m-eval {digest}", ""), context, piece))
        try:
            answers = [answer[0] for answer in self._lm._loglikelihood_tokens(requests)]
        except NotImplementedError as error:
            raise L2MError(
                f"model: {type(self._lm).__name__} has no token-level log-likelihoods ({error}); "
                "use hf, vllm or local-completions"
            ) from error
        if len(answers) != len(requests):
            raise L2MError(
                f"model: {type(self._lm).__name__} answered {len(answers)} of {len(requests)} scoring requests"
            )
        sums = []
        position = 0
        for window in windows:
            sums.append(np.asarray(answers[position : position + len(window.cuts)], float))
            position += len(window.cuts)
            advance(len(window))
        return sums


class PerTokenScorer:
    """An LM that offers `token_log_probs(sequences)`: log p(w_t | w_<t) of sequences without their prefix."""

    sequences_at_once = 64

    def __init__(self, lm: Any):
        self._lm = lm

    def __call__(self, windows: Sequence[Window], advance: Advance) -> list[Sums]:
        sums = []
        for start in range(0, len(windows), self.sequences_at_once):
            batch = windows[start : start + self.sequences_at_once]
            sequences = [np.concatenate([window.context[1:], window.target]) for window in batch]
            for window, log_probs in zip(batch, self._lm.token_log_probs(sequences), strict=True):
                sums.append(sums_between_cuts(np.asarray(log_probs)[len(window.context) - 1 :], window.cuts))
                advance(len(window))
        return sums


def sums_between_cuts(log_probs: NDArray[Any], cuts: Sequence[int]) -> Sums:
    """Sums of per-token log-probabilities of the pieces between cuts, in float64."""
    return np.add.reduceat(log_probs.astype(np.float64), [0, *cuts[:-1]])[: len(cuts)]
