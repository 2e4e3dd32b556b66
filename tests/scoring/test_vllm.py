"""The vLLM scorer against objects of the shape that vLLM's `LLM.generate` documents for its answers."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tolerances import of_log_probabilities

from l2m_eval.errors import L2MError
from l2m_eval.scoring import vllm
from l2m_eval.scoring.answer import choose_scorer
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.scoring.vllm import VLLMScorer
from l2m_eval.scoring.windows import Window


@dataclass
class Logprob:
    """`vllm.logprobs.Logprob`."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class RequestOutput:
    """`vllm.outputs.RequestOutput`, as far as it concerns prompts: None first, then candidates by token id."""

    prompt_token_ids: list[int]
    prompt_logprobs: list[dict[int, Logprob] | None] | None
    outputs: list = field(default_factory=list)
    finished: bool = True


class VLLM:
    """What of the harness' `VLLM` is used here, over a model of transformers."""

    max_length = 128
    data_parallel_size = 1

    def __init__(self, model):
        self.model = model
        self.calls = []

    def _model_generate(self, requests, generate=False, sampling_params=None):
        assert not generate
        self.calls.append([len(prompt) for prompt in requests])
        answers = []
        for prompt in requests:
            with torch.no_grad():
                log_probs = torch.log_softmax(self.model(torch.tensor([prompt])).logits[0].double(), -1)
            candidates: list[dict[int, Logprob] | None] = [None]
            for row, token in zip(log_probs, prompt[1:], strict=False):
                best = int(row.argmax())  # prompt_logprobs=1: the token and the likeliest one
                candidates.append({token: Logprob(row[token].item(), 7), best: Logprob(row[best].item(), 1)})
            answers.append(RequestOutput(prompt, candidates))
        return answers


@pytest.fixture(scope="module")
def model(tiny_llama):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()


def windows(count=7):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        context = np.concatenate([[0], rng.integers(2, 320, rng.integers(0, 20))])
        target = rng.integers(2, 320, rng.integers(4, 30))
        found.append(Window(context, target, (1, 3, len(target)), "a window"))
    return found


def no_bar(_tokens):
    pass


def test_sums_are_those_of_the_models_log_probabilities(model):
    lm, many = VLLM(model), windows()
    scorer = choose_scorer(lm)
    assert isinstance(scorer, VLLMScorer)
    for window, scored in zip(many, scorer(many, no_bar), strict=True):
        ids = torch.from_numpy(np.concatenate([window.context, window.target]))[None]
        with torch.no_grad():
            log_probs = torch.log_softmax(model(ids).logits[0].double(), -1)
        start = len(window.context)
        own = [log_probs[t - 1, ids[0, t]].item() for t in range(start, ids.shape[1])]
        expected = np.add.reduceat(own, [0, *window.cuts[:-1]])
        assert scored.sums == pytest.approx(expected, abs=of_log_probabilities(30))
        assert scored.tokens == len(window)
    assert sum(map(len, lm.calls)) == len(many)  # one prompt for each window


def test_the_engine_gets_many_windows_at_once_but_not_all(model, monkeypatch):
    monkeypatch.setattr(vllm, "TOKENS_AT_ONCE", 100)
    lm, many = VLLM(model), windows()
    choose_scorer(lm)(many, no_bar)
    assert sum(map(sum, lm.calls)) == sum(map(len, many))
    assert 1 < len(lm.calls) < len(many)
    assert max(map(sum, lm.calls)) <= 100


def test_data_parallel_engines_are_started_once(model, monkeypatch):
    monkeypatch.setattr(vllm, "TOKENS_AT_ONCE", 100)
    lm = VLLM(model)
    lm.data_parallel_size = 2
    choose_scorer(lm)(windows(), no_bar)
    assert len(lm.calls) == 1


def test_bare_floats_of_old_versions_are_read(model, monkeypatch):
    lm, many = VLLM(model), windows(2)
    expected = choose_scorer(lm)(many, no_bar)
    generate = lm._model_generate

    def floats(**arguments):
        answers = generate(**arguments)
        for answer in answers:
            answer.prompt_logprobs = [
                candidates and {token: found.logprob for token, found in candidates.items()}
                for candidates in answer.prompt_logprobs
            ]
        return answers

    monkeypatch.setattr(lm, "_model_generate", floats)
    for one, other in zip(expected, choose_scorer(lm)(many, no_bar), strict=True):
        assert one.sums == pytest.approx(other.sums)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: None, "vLLM answered a prompt of .* with 0 log-probabilities"),
        (lambda found: found[5:], r"vLLM answered a prompt of .* log-probabilities \(a window\)"),
        (lambda found: [*found[:-1], {}], "vLLM gave no log-probability for token"),
        (lambda found: [*found[:-1], None], "vLLM gave no log-probability for token"),
    ],
)
def test_answers_without_what_is_needed_get_one_sentence(model, monkeypatch, change, message):
    lm = VLLM(model)
    generate = lm._model_generate

    def changed(**arguments):
        answers = generate(**arguments)
        for answer in answers:
            answer.prompt_logprobs = change(answer.prompt_logprobs)
        return answers

    monkeypatch.setattr(lm, "_model_generate", changed)
    with pytest.raises(L2MError, match=message):
        choose_scorer(lm)(windows(1), no_bar)


def test_room_is_left_for_the_prefix_and_the_generated_token(model):
    lm = VLLM(model)
    lm.tokenizer = SimpleNamespace(all_special_ids=[0], decode=str)
    lm.tok_encode, lm.prefix_token_id = str.split, 0
    assert Encoder(lm).longest == 128 - 2
