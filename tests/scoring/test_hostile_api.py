"""Servers that are slow, wrong or gone: what they said is used where it is right, and one line says it where not."""

from __future__ import annotations

import gc
import json
import re
import sqlite3
import time

import numpy as np
import pytest
from lm_eval.api.model import CachingLM
from lm_eval.models.openai_completions import LocalCompletionsAPI
from stand_in_server import SilentHandler, serving

from l2m_eval.corpus.chunks import Chunk
from l2m_eval.errors import L2MError
from l2m_eval.measurements.position import PositionRequest
from l2m_eval.scoring import answer, score_requests, scorer
from l2m_eval.scoring.answer import choose_scorer
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.scoring.windows import Window
from l2m_eval.settings import PositionSettings, read_settings


def log_prob(token):
    """What this server says of every token, so that sums can be told by hand: 320 of them add up to less than one."""
    return -5.0 - 0.01 * (token + 1)


def honest(prompts, **changes):
    """An answer as OpenAI documents it: the prompt's log-probabilities and one generated token's."""
    choices = [
        {"index": i, "logprobs": {"token_logprobs": [None, *map(log_prob, prompt[1:]), -0.5]}}
        for i, prompt in enumerate(prompts)
    ]
    return {"choices": choices, "usage": {"prompt_tokens": sum(map(len, prompts))}} | changes


class Handler(SilentHandler):
    """Answers as `misbehave` says: a function of the prompts that gives an object, or bytes, or a status."""

    protocol_version = "HTTP/1.1"
    misbehave = staticmethod(honest)
    seen = 0

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompts = request.get("prompt") or request["input_ids"]
        prompts = prompts if isinstance(prompts[0], list) else [prompts]
        Handler.seen += 1
        answer = Handler.misbehave(prompts)
        status, kind = 200, "application/json"
        if isinstance(answer, int):
            status, answer = answer, b'{"error": {"message": "too many requests\\nplease wait"}}'
        if isinstance(answer, tuple):
            status, kind = (answer[0], kind) if isinstance(answer[0], int) else (status, answer[0])
            answer = answer[1]
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        cut = body.startswith(b"CUT")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + 1000 * cut))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = cut


@pytest.fixture(scope="module")
def url():
    with serving(Handler) as address:
        yield address


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(Handler, "seen", 0)

    def set_to(function):
        monkeypatch.setattr(Handler, "misbehave", staticmethod(function))
        return Handler

    set_to(honest)
    return set_to


@pytest.fixture
def api(url, tokenizer_folder):
    def make(**arguments):
        defaults = {"num_concurrent": 1, "batch_size": 2, "max_length": 129, "max_retries": 1, "timeout": 5}
        return LocalCompletionsAPI(
            base_url=url, model="m", tokenizer=str(tokenizer_folder), tokenizer_backend="huggingface",
            **{**defaults, **arguments},
        )  # fmt: skip

    return make


def windows(count=4):
    rng = np.random.default_rng(0)
    return [
        Window(np.array([0, 5, 6]), rng.integers(2, 320, 9 - n), (3, 9 - n), f"window {n}")
        for n in range(count)
    ]


def no_bar(_tokens):
    pass


def refusal(lm):
    with pytest.raises(L2MError) as error:
        choose_scorer(lm)(windows(), no_bar)
    assert str(error.value).isprintable()
    return str(error.value)


def test_requests_that_fail_beside_each_other_are_one_line_together(api, server, caplog):
    """asyncio prints every task whose exception nobody took, each with its traceback, some time later."""
    server(lambda p: 500)
    refusal(api(num_concurrent=3, batch_size=1))
    gc.collect()
    assert "never retrieved" not in caplog.text


def scores_by_hand(window):
    return [sum(map(log_prob, window.target[:3])), sum(map(log_prob, window.target[3:]))]


@pytest.mark.parametrize("concurrent", [1, 3])
def test_an_honest_server_gives_the_sums(api, server, concurrent):
    many = windows()
    for window, scored in zip(many, choose_scorer(api(num_concurrent=concurrent))(many, no_bar), strict=True):
        assert scored.sums == pytest.approx(scores_by_hand(window))


WRONG = {
    "an error with status 200": (
        lambda p: {"error": {"message": "no such model"}},
        "answered with an error: {'mess",
    ),
    "a page": (lambda p: ("text/html", b"<html>busy</html>"), "base_url: no answer from http"),
    "half a JSON": (lambda p: b'{"choices": [', "base_url: no answer from http"),
    "a list": (lambda p: [], r"answered a prompt of \d+ tokens with 0 log-probabilities"),
    "a word": (lambda p: "busy", r"answered a prompt of \d+ tokens with 0 log-probabilities"),
    "null": (lambda p: None, r"answered a prompt of \d+ tokens with 0 log-probabilities"),
    "no choices": (lambda p: {"choices": None}, r"answered a prompt of \d+ tokens with 0 log-probabilities"),
    "choices that are none": (lambda p: {"choices": [7, None, "x"]}, "with 0 log-probabilities"),
    "fewer choices than prompts": (lambda p: honest(p[:1], usage=None), "with 0 log-probabilities"),
    "log-probabilities as words": (
        lambda p: {"choices": [{"logprobs": {"token_logprobs": ["-1.0"] * len(q)}} for q in p]},
        "answered '-1.0' for a log-probability",
    ),
    "probabilities": (
        lambda p: {"choices": [{"logprobs": {"token_logprobs": [0.5] * len(q)}} for q in p]},
        "answered 0.5 for a log-probability",
    ),
    "a token more, as it says": (
        lambda p: honest([[1, *q] for q in p]),
        r"the server read \d+ tokens of prompts where \d+ were sent",
    ),
    "a token more, without saying so": (
        lambda p: honest([[1, *q] for q in p], usage=None),
        r"answered a prompt of \d+ tokens with \d+ log-probabilities, more than one beyond it",
    ),
    "fewer tokens than sent": (
        lambda p: honest([q[:6] for q in p]),
        r"the server read 12 tokens of prompts where \d+ were sent",
    ),
    "fewer, without saying so": (
        lambda p: honest([q[:6] for q in p], usage=None),
        r"answered a prompt of \d+ tokens with 7 log-probabilities",
    ),
    "429": (lambda p: 429, "after 1 attempts: 429"),
    "500": (lambda p: 500, "after 1 attempts: 500"),
    "disconnects": (lambda p: b'CUT{"choices": ', "base_url: no answer from http"),
}


@pytest.mark.parametrize("concurrent", [1, 3])
@pytest.mark.parametrize("kind", WRONG)
def test_a_server_that_answers_wrongly_is_one_line(api, server, kind, concurrent):
    change, says = WRONG[kind]
    server(change)
    assert re.search(says, refusal(api(num_concurrent=concurrent, batch_size=2)))


def test_no_number_is_named_with_its_window(api, server):
    server(lambda p: {"choices": [{"logprobs": {"token_logprobs": [float("nan")] * len(q)}} for q in p]})
    with pytest.raises(L2MError, match="NaN log-probability in the window of a document"):
        score_requests(api(), requests(1), progress=False)


@pytest.mark.parametrize("concurrent", [1, 3])
def test_a_server_that_answers_too_slowly_is_one_line(api, server, concurrent):
    server(lambda p: time.sleep(1.5) or honest(p))
    assert "base_url: no answer from http" in refusal(api(num_concurrent=concurrent, timeout=1))


@pytest.mark.parametrize("trouble", [429, 500, b"CUT", b"{"])
@pytest.mark.parametrize("concurrent", [1, 3])
def test_passing_trouble_is_waited_for(api, server, trouble, concurrent):
    left = [trouble]
    server(lambda p: left.pop() if left else honest(p))
    many = windows()
    found = choose_scorer(api(num_concurrent=concurrent, max_retries=3))(many, no_bar)
    for window, scored in zip(many, found, strict=True):
        assert scored.sums == pytest.approx(scores_by_hand(window))


@pytest.mark.parametrize("change", [lambda c: c[::-1], lambda c: [{**one, "index": None} for one in c]])
def test_answers_are_taken_by_their_index_or_else_in_order(api, server, change):
    server(lambda p: {"choices": change(honest(p)["choices"])})
    many = windows()
    for window, scored in zip(many, choose_scorer(api())(many, no_bar), strict=True):
        assert scored.sums == pytest.approx(scores_by_hand(window))


def test_a_server_that_generates_more_than_asked_is_right_where_it_says_what_it_read(api, server):
    def more(prompts):
        answer = honest(prompts)
        for choice in answer["choices"]:
            choice["logprobs"]["token_logprobs"] += [-0.1] * 5
        return answer

    server(more)
    many = windows()
    for window, scored in zip(many, choose_scorer(api())(many, no_bar), strict=True):
        assert scored.sums == pytest.approx(scores_by_hand(window))


def requests(count):
    settings = read_settings(PositionSettings, {"length": 8})
    texts = [f"{n} and {n} of these, " * 8 for n in range(count)]
    return [PositionRequest(settings, Chunk("a document", n, 0, 0, t, len(t))) for n, t in enumerate(texts)]


def test_a_server_that_goes_away_costs_nothing_that_it_answered(api, server, tmp_path, monkeypatch):
    """With --use_cache: the second run asks for what is missing alone, and ends at the numbers of a whole one."""
    monkeypatch.setattr(scorer, "KEPT_AT_ONCE", 4)
    monkeypatch.setattr(answer, "check_first_answers", lambda *_arguments: None)  # which are requests as well
    many = requests(12)
    whole = score_requests(api(batch_size=1), many, progress=False)

    def cached():
        return CachingLM(api(batch_size=1), str(tmp_path / "cache.db")).lm

    Handler.seen = 0
    server(lambda p: honest(p) if Handler.seen <= 9 else 503)
    with pytest.raises(L2MError, match="no answer"):
        score_requests(cached(), many, progress=False)
    Handler.seen = 0
    server(honest)
    assert score_requests(cached(), many, progress=False) == whole
    assert Handler.seen == 12 - 8  # two groups of four were kept
    with sqlite3.connect(tmp_path / "cache.l2m.db") as kept:
        assert kept.execute("SELECT count(*) FROM finished").fetchone() == (12,)


# --- what the first answer tells -----------------------------------------------------------------------------------


def one_less(prompts, generated=-0.5, **changes):
    """The prompt's log-probabilities without the first token's place, and a generated one's behind."""
    answer = honest(prompts, **changes)
    for choice in answer["choices"]:
        found = choice["logprobs"]["token_logprobs"]
        choice["logprobs"]["token_logprobs"] = [*found[1:-1], generated]
    return answer


def counted(prompts, generated=1):
    return {"prompt_tokens": sum(map(len, prompts)), "completion_tokens": generated * len(prompts)}


def in_all(value):
    def answer(prompts):
        return {"choices": [{"logprobs": {"token_logprobs": [None, *[value] * len(q)]}} for q in prompts]}

    return answer


def floored(prompts):
    answer = honest(prompts)
    for choice in answer["choices"]:
        choice["logprobs"]["token_logprobs"][3] = -9999.0
    return answer


FIRST = {
    "no echo, as llama-server": (
        lambda p: {"choices": [{"logprobs": {"token_logprobs": [-0.1]}} for _ in p]},
        "with 1 log-probabilities",
    ),
    "one entry less, by its usage": (
        lambda p: one_less(p, usage=counted(p)),
        "its usage says that 2 or more are of generated|its usage says that 1 or more are of generated",
    ),
    "one entry less, unsaid": (
        lambda p: one_less(p, generated=-2.0, usage=None),
        "belong to other tokens than those requested",
    ),
    "zeros": (in_all(0.0), "have probabilities that add up to 4.00"),
    "all equal": (in_all(-2.5), "every token has the log-probability -2.5"),
    "a floor": (floored, "-9999 replaces log-probabilities that are too small"),
}


@pytest.mark.parametrize("concurrent", [1, 3])
@pytest.mark.parametrize("kind", FIRST)
def test_what_the_first_answers_tell_is_not_asked_for_420_times(api, server, kind, concurrent):
    change, says = FIRST[kind]
    server(change)
    with pytest.raises(L2MError, match=says):
        score_requests(api(num_concurrent=concurrent), requests(60), progress=False)
    assert Handler.seen <= (1 if kind in ("no echo, as llama-server", "a floor") else 12)


SAID = {
    "a model it does not have": (
        404,
        "The model `m` does not exist.",
        "model: .*`m` does not exist.*'m' was asked for",
    ),
    "another path": (
        404,
        "Not Found",
        "base_url: .* answered 404: 'Not Found'; give the address of completions",
    ),
    "text alone": (400, "prompt must be a string", "tokenized_requests: .*must be a string.* text alone"),
    "text alone, by llama.cpp": (
        500,
        "type must be string, but is array",
        "tokenized_requests: .* text alone",
    ),
    "a shorter context": (
        400,
        "This model's maximum context length is 8 tokens.",
        "max_length: .*; 128 is assumed, give the server's own",
    ),
    "another vocabulary": (400, "Token id 319 is out of vocabulary", "tokenizer: .*out of vocabulary"),
    "no echo": (400, "echo is not supported", "model: .* it must support echo with logprobs"),
    "no key": (401, "Incorrect API key", "base_url: .*Incorrect API key.* OPENAI_API_KEY"),
    "trouble": (
        503,
        "loading model",
        r"base_url: no answer from .* after 1 attempts: 503.*\('loading model'\)",
    ),
}


@pytest.mark.parametrize("concurrent", [1, 3])
@pytest.mark.parametrize("kind", SAID)
def test_the_servers_own_reason_is_quoted_and_the_setting_named(api, server, kind, concurrent):
    status, words, says = SAID[kind]
    server(lambda p: (status, json.dumps({"error": {"message": words}}).encode()))
    with pytest.raises(L2MError, match=says):
        score_requests(api(num_concurrent=concurrent), requests(3), progress=False)


@pytest.mark.parametrize("concurrent", [1, 3])
def test_a_server_of_sglang_that_is_gone_or_answers_otherwise_is_one_line(
    server, url, tokenizer_folder, concurrent
):
    from lm_eval.models.sglang_generate_API import SGLANGGENERATEAPI

    def lm(at):
        return SGLANGGENERATEAPI(
            base_url=at, model="m", tokenizer=str(tokenizer_folder), num_concurrent=concurrent, batch_size=2,
            max_length=129, max_retries=1, timeout=5,
        )  # fmt: skip

    with pytest.raises(
        L2MError, match=r"base_url: no answer from http://127\.0\.0\.1:9/generate after 1 attempts: "
    ):
        score_requests(lm("http://127.0.0.1:9/generate"), requests(2), progress=False)
    with pytest.raises(
        L2MError, match=r"model: the answer of http.* is not what SGLANGGENERATEAPI reads \(KeyError"
    ):
        score_requests(lm(url), requests(2), progress=False)


# --- tokenizers of servers ----------------------------------------------------------------------------------------

MARKED = "before <|endoftext|> after. " * 10


def plan(lm, text=MARKED):
    settings = read_settings(PositionSettings, {"length": 24})
    (window,) = (
        PositionRequest(settings, Chunk("a document", 0, 0, 0, text, len(text))).plan(Encoder(lm)).windows
    )
    return window


def test_marks_are_text_to_a_server_too(api):
    """The tokenizer runs here and ids are sent, so a mark arrives as the tokens of its letters."""
    lm = api()
    lm.tokenizer.add_special_tokens({"additional_special_tokens": ["<|endoftext|>"]})
    number = lm.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert number in lm.tok_encode(MARKED)  # what must not be sent
    window = plan(lm)
    assert number not in window.target
    assert MARKED.startswith(lm.tokenizer.decode(window.target.tolist(), clean_up_tokenization_spaces=False))


def test_marks_are_text_to_tiktoken_which_would_fall_apart_into_letters(api):
    """`encode` refuses them, whereupon the harness splits the text letter by letter."""
    import tiktoken

    ranks = {bytes([byte]): byte for byte in range(256)} | {
        b"be": 256,
        b"fore": 257,
        b"af": 258,
        b"fo": 259,
        b"re": 260,
    }
    lm = api()
    lm.tokenizer = tiktoken.Encoding(
        "tiny",
        pat_str=r"\s?\w+|\s?[^\w\s]+|\s+",
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": 261},
    )
    lm.tokenizer_backend = "tiktoken"
    window = plan(lm)
    assert 261 not in window.target
    assert MARKED.startswith(lm.tokenizer.decode(window.target.tolist()))
    assert window.context.tolist() == [261]


class Remote:
    """The harness' client of a server's tokenizer, which reads marks in text as control tokens."""

    def __init__(self, inner, info):
        self.inner, self.tokenizer_info = inner, info
        self.bos_token_id, self.eos_token_id = 0, 1

    def encode(self, text):
        return self.inner(text, add_special_tokens=False)["input_ids"]

    def batch_decode(self, tokens):
        return self.inner.batch_decode(tokens)


@pytest.mark.parametrize("mark", ["<|eos|>", "<|endoftext|>", "<tool_call>"])
def test_marks_in_text_are_refused_where_the_server_splits_it(api, mark):
    from tokenizers import AddedToken

    lm = api()
    lm.tokenizer.add_tokens([AddedToken("<|endoftext|>", special=True)], special_tokens=True)
    lm.tokenizer.add_tokens(["<tool_call>"])
    added = {
        "320": {"content": "<|endoftext|>", "special": True},
        "321": {"content": "<tool_call>", "special": False},
    }
    lm.tokenizer = Remote(lm.tokenizer, {"eos_token": "<|eos|>", "added_tokens_decoder": added})
    lm.tokenizer_backend = "remote"
    assert len(plan(lm, "plain text of no danger " * 5).target) == 24
    with pytest.raises(
        L2MError, match=r"turns into the special token id (1|320|321) \(.*remove it from the text"
    ):
        plan(lm, f"before {mark} after. " * 10)
