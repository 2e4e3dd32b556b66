"""What cannot be log-probabilities of a text is refused at the first answer; what can be, however odd, never is."""

import json

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from l2m_eval.errors import L2MError
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.processes import PROCESSES, TokenProcess, make_process
from l2m_eval.scoring import score_requests
from l2m_eval.scoring.answer import choose_scorer
from l2m_eval.scoring.huggingface import HuggingFaceScorer
from l2m_eval.scoring.plausible import check_first_answers, log_probs_of_tokens
from l2m_eval.scoring.portable import PerTokenScorer, PortableScorer
from l2m_eval.scoring.windows import Window


class Request:
    """Asks for windows and answers with their sums."""

    def __init__(self, windows):
        self.windows = windows

    def plan(self, _encoder):
        return self

    def record(self, scores):
        return json.dumps([sums.tolist() for sums in scores])


def windows(vocabulary=320, length=40, count=3):
    rng = np.random.default_rng(3)
    texts = rng.integers(2, vocabulary, (count, length))
    return [
        Window(np.zeros(1, np.int64), text, (length // 2, length), f"text {n}")
        for n, text in enumerate(texts)
    ]


class Backend:
    """Log-probabilities of every token by a rule: (sequence without prefix) -> one number a token."""

    max_length = 129
    prefix_token_id = 0

    def __init__(self, rule, vocabulary=320):
        self.rule = rule
        self.asked = 0
        self.tokenizer = type("Tokenizer", (), {"vocab_size": vocabulary})()

    def tok_encode(self, string, **_):
        return [2 + ord(letter) % 300 for letter in string]

    def token_log_probs(self, sequences):
        self.asked += len(sequences)
        return [np.asarray(self.rule(np.asarray(sequence)), float) for sequence in sequences]


TABLE = torch.log_softmax(2 * torch.randn((330, 320), generator=torch.Generator().manual_seed(0)), -1).numpy()


def chain(sequence, start=329):
    """A Markov chain: what a token depends on is the one before."""
    return TABLE[[start, *sequence[:-1]], sequence]


IMPOSSIBLE = {
    "zeros": (np.zeros_like, "add up to 4.00"),
    "ones": (lambda s: np.full(len(s), -1.0), "add up to 1.47"),
    "all equal": (lambda s: np.full(len(s), -3.0), r"every token has the log-probability -3 \(text 0\)"),
    "of the token behind": (lambda s: np.append(chain(s)[1:], -0.7), "add up to|belong to other tokens"),
    "the last one generated": (lambda s: np.append(chain(s)[:-1], -0.7), "add up to|belong to other tokens"),
    "reads both ways": (lambda s: chain(s) + 0.3 * TABLE[np.append(s[1:], 0), s], "the model is not causal"),
    "NaN": (lambda s: np.full(len(s), np.nan), r"NaN log-probability in the window of text 0"),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_what_cannot_be_log_probabilities_is_refused_at_the_first_answers(kind):
    rule, says = IMPOSSIBLE[kind]
    lm = Backend(rule)
    with pytest.raises(L2MError, match=says):
        score_requests(lm, [Request(windows(count=50))], progress=False)
    assert lm.asked < 30


POSSIBLE = {
    "a chain": chain,
    "independent tokens": lambda s: TABLE[0, s],
    "uniform": lambda s: np.full(len(s), -np.log(320)),
    "uniform over a padded vocabulary": lambda s: np.full(len(s), -np.log(384)),
    "with noise of half precision": lambda s: (
        chain(s) + 0.004 * np.random.default_rng(s.sum()).normal(size=len(s))
    ),
}


@pytest.mark.parametrize("kind", POSSIBLE)
def test_what_can_be_is_not(kind):
    answers = score_requests(Backend(POSSIBLE[kind]), [Request(windows())], progress=False)
    assert np.isfinite(json.loads(answers[0])).all()


@pytest.mark.parametrize("name", [n for n, kind in PROCESSES.items() if issubclass(kind, TokenProcess)])
def test_no_exact_process_is_refused_or_noted(name):
    """Also where tokens are certain, impossible, independent or all equally likely."""
    process = make_process(name)
    lm = OracleLM(process)
    texts = process.sample(4, 48, np.random.default_rng(0))
    made = [Window(np.array([lm.prefix_token_id]), text, (48,), "a text") for text in np.asarray(texts)]
    assert np.isfinite(json.loads(score_requests(lm, [Request(made)], progress=False)[0])).all()
    if name == "santa_fe_recall":  # a question with another fact's number is no text of it
        return
    notes = []
    for scorer in (PerTokenScorer(lm), PortableScorer(lm)):
        check_first_answers(lm, scorer, made, notes.append)
    assert notes == []


FLOORED = [[-1.0, -9999.0], [-2.0, -100.0], [-1e30, -3.0], [-64.0, -1.0, -64.0]]


@pytest.mark.parametrize("values", FLOORED)
def test_floors_are_no_log_probabilities(values):
    with pytest.raises(L2MError, match="replaces log-probabilities that are too small"):
        log_probs_of_tokens(values, "a window")


def test_small_and_equal_log_probabilities_are():
    values = [-0.0, -12.5, -12.5, -60.25, -99.5, -float("inf"), -float("inf")]
    assert log_probs_of_tokens(values, "a window").tolist() == values


# --- models in this process ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder)


def bert(is_decoder):
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    config = BertConfig(vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                        num_attention_heads=4, max_position_embeddings=128, is_decoder=is_decoder)  # fmt: skip
    model = BertLMHeadModel(config).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
                module.weight.mul_(8)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scorer", [choose_scorer, PortableScorer])
def test_a_model_that_is_not_causal_is_refused(tokenizer, scorer, dtype):
    for is_decoder in (True, False):
        model = bert(is_decoder).to(dtype)
        lm = HFLM(pretrained=model, tokenizer=tokenizer, device="cpu", batch_size=4)
        lm._l2m_scorer = scorer(lm)
        requests = [Request(windows())]
        if is_decoder:
            assert np.isfinite(json.loads(score_requests(lm, requests, progress=False)[0])).all()
        else:
            with pytest.raises(
                L2MError,
                match=r"HFLM changes the log-probabilities of a text's first tokens .* the model is not causal",
            ):
                score_requests(lm, requests, progress=False)


def rounding_otherwise_in_each_call(model, unit):
    """What kernels do that choose the order of arithmetic by the shape of a batch: every number is off by a unit."""
    generator = torch.Generator().manual_seed(0)

    def rounded(_module, _inputs, output):
        return (output.float() * (1 + unit * (2 * torch.rand(output.shape, generator=generator) - 1))).to(
            output.dtype
        )

    model.lm_head.register_forward_hook(rounded)
    for layer in model.model.layers:
        layer.mlp.register_forward_hook(rounded)


@pytest.mark.parametrize(("dtype", "unit"), [("bfloat16", 2**-8), ("float16", 2**-11), ("float32", 2**-24)])
def test_rounding_is_no_sign_of_a_model_that_is_not_causal(tiny_llama, dtype, unit):
    """Logits as large as those of released models, on a processor that rounds otherwise for other shapes."""
    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=4, dtype=dtype)
    plain = HuggingFaceScorer(lm)._largest_logit()
    with torch.no_grad():
        lm.model.lm_head.weight.mul_(40 / plain)
    rounding_otherwise_in_each_call(lm.model, unit)
    scorer = HuggingFaceScorer(lm)
    assert scorer._largest_logit() == pytest.approx(40, rel=0.02)  # of bfloat16
    assert scorer.separable
    assert scorer._can_share_prefixes()
    generator = np.random.default_rng(1)
    for _ in range(20):
        made = [
            Window(np.zeros(1, int), tokens, (40,), "a text")
            for tokens in generator.integers(2, 320, (2, 40))
        ]
        check_first_answers(lm, scorer, made, lambda _: None)


def test_a_model_is_asked_once(tiny_llama, monkeypatch):
    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=4, dtype="float32")
    score_requests(lm, [Request(windows())], progress=False)
    asked = []
    scored = HuggingFaceScorer.__call__
    monkeypatch.setattr(
        HuggingFaceScorer, "__call__", lambda self, ws, *rest: asked.append(ws) or scored(self, ws, *rest)
    )
    score_requests(lm, [Request(windows())], progress=False)
    assert [len(ws) for ws in asked] == [3]


def test_text_that_is_no_likelier_than_in_random_order_is_noted(shared):
    """A trained model with its own tokenizer gives no note; with its tokens renamed it does."""
    lm = HFLM(str(shared / "models" / "books-llama-5m"), device="cpu", batch_size=8, dtype="float32")
    text = (shared / "corpora" / "books" / "jane-austen-emma.txt").read_text(encoding="utf-8")[50_000:52_000]
    ids = np.array(lm.tok_encode(text, add_special_tokens=False))
    prefix = np.array([lm.prefix_token_id])
    vocabulary = lm.model.get_input_embeddings().num_embeddings
    other = np.random.default_rng(0).permutation(vocabulary)
    for tokens, count in ((ids, 0), (other[ids], 1)):
        made = [Window(prefix, tokens[start : start + 40], (40,), "a text") for start in (0, 100)]
        notes = []
        check_first_answers(lm, choose_scorer(lm), made, notes.append)
        assert len(notes) == count, notes
