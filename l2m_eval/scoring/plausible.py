"""Whether answers can be log-probabilities of the text, checked before the costly requests.

Each check is something that log q(w_t | w_<t) of any model fulfils, so that no model, text or process is refused
wrongly:

- what comes later in a text does not change the log-probability of what came before: it does with a masked or
  diffusion language model, and where answers belong to the token before or behind;
- probabilities of different tokens after the same text add up to one at most: zeros, and what was generated, do not;
- log-probabilities are not all equal, but for a uniform distribution over the vocabulary;
- no value is the floor that some servers put in place of what is too small.

That a text is likelier than its tokens in random order holds for trained models on natural text alone. It is a note,
and only where the model is also worse than a uniform distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError, shown
from l2m_eval.scoring.rotary import fixed_up_to
from l2m_eval.scoring.scorer import Scorer
from l2m_eval.scoring.windows import Window
from l2m_eval.statistics.arrays import Tokens

# A probability has no logarithm above zero; servers round.
LARGEST_LOG_PROB = 0.01
# What servers write for a probability that is too small for them (OpenAI, Azure), and what none can be below.
FLOORS = (-9999.0, -100.0)
LOWEST = -1000.0
# The same value below this, twice: e^-50 by chance, and then to the last digit.
_REPEATED_BELOW = -50.0
# Tokens of a text that are asked for, of which the last third is changed; alternatives; texts.
TOKENS, KEPT, ALTERNATIVES, TEXTS = 24, 17, 4, 2
# Changes of a log-probability that are never taken for one by what comes later, nats.
ROUNDING = 0.02


def log_probs_of_tokens(values: Sequence[Any], label: str) -> np.ndarray:
    """A backend's numbers as log-probabilities.

    Raises:
        L2MError: one that is missing, no number, above zero, or a floor.
    """
    for value in values:
        if value is None:
            raise L2MError(
                f"model: the server left log-probabilities out of its answer ({label}); it must give "
                "one for every token of the prompt but the first"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value > LARGEST_LOG_PROB:
            raise L2MError(
                f"model: the server answered {shown(value)} for a log-probability ({label}); it must give "
                "natural logarithms, at most 0"
            )
    found = np.asarray(values, float)
    low = found[found < _REPEATED_BELOW]
    low = low[np.isfinite(low)]
    different, counts = np.unique(low, return_counts=True)
    floors = different[(counts > 1) | np.isin(different, FLOORS) | (different < LOWEST)]
    if len(floors):
        raise L2MError(
            f"model: {floors[0]:g} replaces log-probabilities that are too small for the backend ({label}); "
            "it must give every log-probability as it is"
        )
    return found


def check_first_answers(
    lm: Any, scorer: Scorer, windows: Sequence[Window], note: Callable[[str], None]
) -> None:
    """Score a few short texts, the first of them alone, and check the answers.

    Args:
        lm: The LM of the harness.
        scorer: Of this LM.
        windows: The windows to score; the texts are prefixes of these.
        note: Called with what is unusual but not wrong.

    Raises:
        L2MError: the answers cannot be log-probabilities of the text.
    """
    texts = _texts(windows)
    if not texts:
        return
    by_token = scorer.most_pieces is None
    _score(scorer, [_window(texts[0][0], texts[0][1], by_token, len(texts[0][0]) - 1)])
    limit = fixed_up_to(lm)
    moved, plain, shuffled = [], [], []
    for ids, label in texts:
        kept = max(1, (len(ids) - 1) * KEPT // TOKENS)
        tokens = _alternatives(ids, kept + 1, texts)
        long = [_changed(ids, kept + 1, token) for token in tokens]
        short = [one[: kept + 2] for one in long]
        other = np.concatenate([ids[:1], np.random.default_rng(0).permutation(ids[1:])])
        asked = [_window(one, label, by_token, kept) for one in [*long, *short, other]]
        answers = _score(scorer, asked)
        count = len(tokens)
        if not np.isfinite(answers[0]).all():
            bad = "NaN" if np.isnan(answers[0]).any() else "infinite"
            raise L2MError(f"model: {bad} log-probability in the window of {label}")
        place = kept if by_token else 1
        _check_sum_of_probabilities([answer[place] for answer in answers[count : 2 * count]], label)
        if by_token:
            _check_not_all_equal(lm, answers[0], label)
        same_length = limit is not None and limit < len(ids) - 1
        moved.append(_moved(answers[:count], answers[count : 2 * count], place, same_length))
        if not by_token:  # pieces are asked for one by one, so that only the whole can show it
            # In a call of its own: the harness confuses requests of the same tokens that are split at other places.
            [whole] = _score(scorer, [Window(ids[:1], ids[1:], (len(ids) - 1,), label)])
            moved[-1] = max(moved[-1], abs(float(answers[0].sum() - whole.sum())))
        plain.append(float(answers[0].sum()))
        shuffled.append(float(answers[2 * count].sum()))
    tolerance = max(
        ROUNDING, 2 * scorer.rounding
    )  # a range of eight answers, where two differ by one of them
    if min(moved) > tolerance:
        raise L2MError(
            f"model: {type(lm).__name__} changes the log-probabilities of a text's first tokens when its last tokens "
            f"are changed or omitted (by {min(moved):.2g} nats, {texts[0][1]}): the model is not causal (a masked "
            "or diffusion language model), or the answers belong to other tokens than those requested"
        )
    _note_unlikely_text(lm, plain, shuffled, sum(len(ids) - 1 for ids, _ in texts), note)


def _texts(windows: Sequence[Window]) -> list[tuple[Tokens, str]]:
    """The first tokens of different windows, after the prefix token; two tokens or more."""
    found: dict[bytes, tuple[Tokens, str]] = {}
    for window in windows:
        ids = np.concatenate([window.context, window.target])[: TOKENS + 1]
        if len(ids) > 3:
            found.setdefault(ids[1:].tobytes(), (ids, window.label))
        if len(found) == TEXTS:
            break
    return list(found.values())


def _alternatives(ids: Tokens, place: int, texts: Sequence[tuple[Tokens, str]]) -> list[int]:
    """Different tokens to stand at a place, the text's own first: all of them are tokens of some text."""
    others = dict.fromkeys(int(token) for text, _ in texts for token in text[1:])
    own = int(ids[place])
    return [own, *(token for token in others if token != own)][:ALTERNATIVES]


def _changed(ids: Tokens, place: int, token: int) -> Tokens:
    """A text with another token at a place, and the same one in place of all that follow if it is another."""
    changed = ids.copy()
    if token != ids[place]:
        changed[place:] = token
    return changed


def _window(ids: Tokens, label: str, by_token: bool, kept: int) -> Window:
    size = len(ids) - 1
    cuts = range(1, size + 1) if by_token else sorted({kept, min(kept + 1, size), size})
    return Window(ids[:1], ids[1:], tuple(cuts), label)


def _score(scorer: Scorer, windows: Sequence[Window]) -> list[np.ndarray]:
    """Answers in the order of `windows`; the scorer wants the longest first."""
    order = sorted(range(len(windows)), key=lambda i: -len(windows[i]))
    scored = scorer([windows[i] for i in order], lambda _tokens: None)
    return [scored[order.index(i)].sums for i in range(len(windows))]


def _check_sum_of_probabilities(log_probs: Sequence[float], label: str) -> None:
    total = math.fsum(math.exp(min(value, 1.0)) for value in log_probs if not math.isnan(value))
    if len(log_probs) > 1 and total > 1.05:
        raise L2MError(
            f"model: {len(log_probs)} different tokens after the same text have probabilities that add up to "
            f"{total:.2f} ({label}); the answers are not log-probabilities of the text"
        )


def _check_not_all_equal(lm: Any, log_probs: np.ndarray, label: str) -> None:
    sizes = _vocabulary_sizes(lm)
    if len(log_probs) < 4 or np.ptp(log_probs) > 0 or not sizes:
        return
    if not any(abs(float(log_probs[0]) + math.log(size)) < math.log(2) for size in sizes):
        raise L2MError(
            f"model: every token has the log-probability {log_probs[0]:g} ({label}), which is not a uniform "
            f"distribution over {max(sizes):,} tokens either; the answers are not log-probabilities of the text"
        )


def _moved(long: Sequence[np.ndarray], short: Sequence[np.ndarray], place: int, same_length: bool) -> float:
    """The largest change of a log-probability by what comes later, nats; infinite values do not change."""
    before = [answer[:place] for answer in ([*long] if same_length else [*long, *short])]
    with np.errstate(invalid="ignore"):
        changes = [np.ptp(np.array(before), axis=0)]
        if not same_length:
            changes += [
                np.abs(one[place : place + 1] - other[place : place + 1])
                for one, other in zip(long, short, strict=True)
            ]
    found = np.concatenate(changes)
    return float(np.max(found[~np.isnan(found)], initial=0.0))


def _note_unlikely_text(
    lm: Any, plain: Sequence[float], shuffled: Sequence[float], tokens: int, note: Callable[[str], None]
) -> None:
    sizes = _vocabulary_sizes(lm)
    text, order = sum(plain) / tokens, sum(shuffled) / tokens
    if sizes and tokens >= TOKENS and text < order + 1 and text < -math.log(max(sizes)) - 0.5:
        note(
            f"the model gives the text hardly more probability than its tokens in random order ({text:.2f} and "
            f"{order:.2f} nats per token), and less than if all tokens were equally likely: it was not trained on "
            "such text, or the tokenizer belongs to another model"
        )


def _vocabulary_sizes(lm: Any) -> list[int]:
    """Sizes of the vocabulary by the tokenizer, where it tells; those of a model may be somewhat larger."""
    tokenizer: Any = getattr(lm, "tokenizer", None)
    sizes = [getattr(tokenizer, name, None) for name in ("vocab_size", "vocabulary_size", "n_vocab")]
    if hasattr(tokenizer, "__len__"):
        sizes.append(len(tokenizer))
    return [int(size) for size in sizes if isinstance(size, int) and size > 1]
