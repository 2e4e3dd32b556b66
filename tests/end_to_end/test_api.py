"""Scoring through a real HTTP server that speaks the completions API (echo and logprobs)."""

import json
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from stand_in_server import SilentHandler, serving
from tolerances import of_log_probabilities

from l2m_eval.errors import L2MError
from l2m_eval.scoring.answer import choose_scorer, score_requests
from l2m_eval.scoring.api import CompletionsScorer
from l2m_eval.scoring.portable import PortableScorer
from l2m_eval.scoring.windows import Window

TASK = "l2m_bipartite_text"
METADATA = {"documents": 4, "lengths": [4, 8, 16, 32]}


@contextmanager
def completions_server(log_probs_after):
    """Scores prompts of token ids; the answer has the shape that OpenAI documents.

    log_probs_after: From a prompt to log q over the vocabulary after each of its tokens, (tokens, vocabulary).
    """
    lock = threading.Lock()

    class Completions(SilentHandler):
        prompts_seen = 0
        spoil = None  # a function that changes each answer's token_logprobs
        failures = 0  # requests to refuse before the next is answered

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert request["echo"]
            prompts = request["prompt"]
            prompts = prompts if isinstance(prompts[0], list) else [prompts]
            if Completions.failures:
                Completions.failures -= 1
                self.send_error(503)
                return
            Completions.prompts_seen += len(prompts)
            choices = []
            for index, prompt in enumerate(prompts):
                with lock:
                    log_probs = log_probs_after(prompt)
                best = log_probs.max(-1).tolist()
                greedy = int(log_probs[-1].argmax())
                own = [None] + [log_probs[t - 1, prompt[t]].item() for t in range(1, len(prompt))]
                choices.append(
                    {
                        "index": index,
                        "text": "",
                        "logprobs": {
                            "token_logprobs": [*own, log_probs[-1, greedy].item()],
                            "top_logprobs": [None, *({"best": value} for value in best)],
                        },
                    }
                )
            for choice in choices if Completions.spoil else []:
                logprobs = choice["logprobs"]
                logprobs["token_logprobs"] = Completions.spoil(logprobs["token_logprobs"])
            body = json.dumps({"choices": choices[::-1]}).encode()  # their order is in `index`
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Completions) as Completions.url:
        yield Completions


@pytest.fixture(scope="module")
def server(tiny_llama):
    """With the tiny model behind it."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()

    def log_probs_after(prompt):
        with torch.no_grad():
            return torch.log_softmax(model(torch.tensor([prompt])).logits[0].double(), -1).numpy()

    with completions_server(log_probs_after) as made:
        yield made


@pytest.fixture
def api(server, tiny_llama):
    """The harness' own backend for it, batches of two, four requests at a time."""
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    def make(**arguments):
        defaults = {"num_concurrent": 4, "batch_size": 2, "max_length": 129, "max_retries": 3}
        return LocalCompletionsAPI(
            base_url=server.url,
            model="tiny",
            tokenizer=str(tiny_llama),
            tokenizer_backend="huggingface",
            **{**defaults, **arguments},
        )

    server.prompts_seen, server.spoil, server.failures = 0, None, 0
    yield make
    server.spoil, server.failures = None, 0


def windows(count=9, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        context = np.concatenate([[0], rng.integers(2, 320, rng.integers(0, 20))])
        target = rng.integers(2, 320, rng.integers(4, 30))
        found.append(Window(context, target, (1, 3, len(target)), "a window"))
    return found


def no_bar(_tokens):
    pass


@pytest.mark.parametrize("concurrent", [1, 4])
def test_one_request_gives_all_sums_of_a_window(api, server, concurrent):
    lm, many = api(num_concurrent=concurrent), windows()
    scorer = choose_scorer(lm)
    assert isinstance(scorer, CompletionsScorer)
    answers = scorer(many, no_bar)
    assert server.prompts_seen == len(many)
    assert [scored.tokens for scored in answers] == [len(window) for window in many]
    for window, one, other in zip(many, answers, PortableScorer(lm)(many, no_bar), strict=True):
        assert one.sums == pytest.approx(other.sums, abs=of_log_probabilities(30))  # other prompts
        assert other.tokens == sum(len(window.context) + cut for cut in window.cuts)
    assert server.prompts_seen == 4 * len(many)


def test_the_harness_reads_answers_its_own_way_afterwards(api):
    lm = api()
    choose_scorer(lm)(windows(2), no_bar)
    [(value, greedy)] = lm._loglikelihood_tokens([(("", ""), [0, 5], [6, 7])])
    assert value < 0
    assert greedy in (False, True)


def test_refused_requests_are_tried_again(api, server):
    expected = choose_scorer(api())(windows(2), no_bar)
    server.failures = 2
    again = choose_scorer(api(num_concurrent=1))(windows(2), no_bar)
    assert [scored.sums.tolist() for scored in again] == [scored.sums.tolist() for scored in expected]


@pytest.mark.parametrize("concurrent", [1, 4])
def test_a_server_that_keeps_refusing_gets_one_sentence(api, server, concurrent):
    server.failures = 10**6
    with pytest.raises(L2MError, match=r"base_url: no answer from http.* after 2 attempts: .*503"):
        choose_scorer(api(num_concurrent=concurrent, max_retries=2))(windows(1), no_bar)


def test_an_answer_without_the_generated_token_is_enough(api, server):
    expected = choose_scorer(api())(windows(3), no_bar)
    server.spoil = lambda log_probs: log_probs[:-1]
    for one, other in zip(expected, choose_scorer(api())(windows(3), no_bar), strict=True):
        assert one.sums == pytest.approx(other.sums)


SPOILT = {
    "only what was generated": (lambda lp: lp[-1:], "answered a prompt of .* tokens with 1 log-prob"),
    "a truncated prompt": (
        lambda lp: lp[:3],
        r"answered a prompt of .* tokens with 3 log-prob.*\(a window\)",
    ),
    "none at all": (lambda lp: None, "answered a prompt of .* tokens with 0 log-probabilities"),
    "gaps": (lambda lp: [*lp[:-3], None, *lp[-2:]], r"left log-probabilities out of its answer \(a window\)"),
}


@pytest.mark.parametrize("concurrent", [1, 4])
@pytest.mark.parametrize("kind", SPOILT)
def test_answers_without_what_is_needed_get_one_sentence(api, server, kind, concurrent):
    server.spoil, message = SPOILT[kind]
    with pytest.raises(L2MError, match=message):
        choose_scorer(api(num_concurrent=concurrent))(windows(3), no_bar)


def test_a_window_over_the_servers_context_is_an_error_before_any_request(api, server):
    class Request:
        windows = (Window(np.zeros(1, np.int64), np.ones(129, np.int64), (129,), "a long one"),)

        def plan(self, _encoder):
            return self

    with pytest.raises(
        L2MError, match="window of a long one has 130 tokens with its prefix, the model reads 128"
    ):
        score_requests(api(), [Request()], progress=False)
    assert server.prompts_seen == 0


def test_an_api_gives_the_curve_of_the_model_behind_it(lm_eval, server, tiny_llama, text_folder):
    metadata = {**METADATA, "corpus": f"{text_folder}/*.txt"}
    api = lm_eval(
        "--model", "local-completions",
        "--model_args", f"model=tiny,tokenizer={tiny_llama},base_url={server.url},num_concurrent=4,max_length=129",
        "--batch_size", "2", "--tasks", TASK, metadata=metadata,
    )  # fmt: skip
    assert api.code == 0, api.stderr
    hf = lm_eval(
        "--model", "hf", "--model_args", f"pretrained={tiny_llama},dtype=float32", "--device", "cpu",
        "--tasks", TASK, metadata=metadata,
    )  # fmt: skip
    ours, theirs = api.metrics(TASK), hf.metrics(TASK)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        if "_mi@" in name and not name.endswith("_stderr_stderr"):
            assert ours[name] == pytest.approx(value, abs=of_log_probabilities(16, sums=4)), name


@pytest.mark.slow
def test_a_known_process_behind_an_api_is_measured_as_the_oracle_is(lm_eval, tmp_path):
    """Every next-token distribution is the process' own, so the numbers are those of `l2m-oracle`."""
    from l2m_eval.experiments.synthetic import save_tokenizer
    from l2m_eval.processes import SantaFe

    process = SantaFe(facts=64, flip_rate=0.1)
    save_tokenizer(process, tmp_path)

    def log_probs_after(prompt):
        assert prompt[0] == process.vocabulary_size  # the start of a stationary stream
        return process.predictions(np.array([[*prompt[1:], 0]]))[0]

    metadata = {"facts": 64, "documents": 6, "lengths": [8, 16, 32], "length": 32}
    tasks = ["l2m_bipartite_process", "l2m_position_nll_process", "l2m_two_point_process"]
    chosen = ("--tasks", ",".join(tasks), "--seed", "7")
    with completions_server(log_probs_after) as server:
        api = lm_eval(
            "--model", "local-completions",
            "--model_args", f"model=known,tokenizer={tmp_path},base_url={server.url},num_concurrent=2,max_length=65",
            "--batch_size", "4", *chosen, metadata=metadata,
        )  # fmt: skip
    assert api.code == 0, api.stderr
    oracle = lm_eval(
        "--model", "l2m-oracle", "--model_args", "process=santa_fe,facts=64,flip_rate=0.1,max_length=65",
        *chosen, metadata=metadata,
    )  # fmt: skip
    for task in tasks:
        ours, theirs = api.metrics(task), oracle.metrics(task)
        compared = [name for name, value in theirs.items() if isinstance(value, float) and "@" in name]
        assert len(compared) > 5
        for name in compared:
            # Sums in another order, of log-probabilities by another formula: 10⁻¹² a token (test_divergence).
            assert ours[name] == pytest.approx(theirs[name], abs=1e-6, nan_ok=True), name


def test_a_length_that_the_api_would_truncate_is_refused(lm_eval, server, tiny_llama, text_folder):
    run = lm_eval(
        "--model", "local-completions",
        "--model_args", f"model=tiny,tokenizer={tiny_llama},base_url={server.url},max_length=33",
        "--tasks", TASK, metadata={**METADATA, "corpus": f"{text_folder}/*.txt"},
    )  # fmt: skip
    assert run.code != 0
    assert "lengths: 32 is over the model's context: 31 tokens" in run.error


def test_a_chat_only_api_gets_one_sentence(lm_eval, server, text_folder):
    run = lm_eval(
        "--model", "local-chat-completions", "--model_args", f"model=tiny,base_url={server.url}",
        "--apply_chat_template", "--tasks", TASK, metadata={**METADATA, "corpus": f"{text_folder}/*.txt"},
    )  # fmt: skip
    assert run.code != 0
    assert "gives no token-level log-likelihoods" in run.error
    assert "Traceback" not in run.stderr


def test_an_api_that_splits_text_itself_is_refused(lm_eval, server, tiny_llama, text_folder):
    run = lm_eval(
        "--model", "local-completions",
        "--model_args", f"model=tiny,tokenizer={tiny_llama},base_url={server.url},tokenized_requests=False",
        "--tasks", TASK, metadata={**METADATA, "corpus": f"{text_folder}/*.txt"},
    )  # fmt: skip
    assert run.code != 0
    assert "use tokenized_requests=True" in run.error
