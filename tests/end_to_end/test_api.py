"""The portable scorer against a real HTTP server that speaks the completions API (echo and logprobs)."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

TASK = "l2m_bipartite_text"
METADATA = {"documents": 4, "lengths": [4, 8, 16, 32]}


@pytest.fixture(scope="module")
def server(tiny_llama):
    """Scores prompts of token ids with the tiny model; the answer has the shape that OpenAI documents."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()
    lock = threading.Lock()

    class Completions(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert request["echo"]
            prompts = request["prompt"]
            prompts = prompts if isinstance(prompts[0], list) else [prompts]
            choices = []
            for index, prompt in enumerate(prompts):
                with lock, torch.no_grad():
                    logits = model(torch.tensor([prompt])).logits[0].double()
                log_probs = torch.log_softmax(logits, -1)
                best = log_probs.max(-1).values.tolist()
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
            body = json.dumps({"choices": choices}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Completions)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/v1/completions"
    http.shutdown()


def test_an_api_gives_the_curve_of_the_model_behind_it(lm_eval, server, tiny_llama, text_folder):
    metadata = {**METADATA, "corpus": f"{text_folder}/*.txt"}
    api = lm_eval(
        "--model", "local-completions",
        "--model_args", f"model=tiny,tokenizer={tiny_llama},base_url={server},num_concurrent=4,max_length=129",
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
            assert ours[name] == pytest.approx(value, abs=1e-3), name


def test_a_length_that_the_api_would_truncate_is_refused(lm_eval, server, tiny_llama, text_folder):
    run = lm_eval(
        "--model", "local-completions",
        "--model_args", f"model=tiny,tokenizer={tiny_llama},base_url={server},max_length=33",
        "--tasks", TASK, metadata={**METADATA, "corpus": f"{text_folder}/*.txt"},
    )  # fmt: skip
    assert run.code != 0
    assert "lengths: 32 is over the model's context: 31 tokens" in run.error


def test_a_chat_only_api_gets_one_sentence(lm_eval, server, text_folder):
    run = lm_eval(
        "--model", "local-chat-completions", "--model_args", f"model=tiny,base_url={server}",
        "--apply_chat_template", "--tasks", TASK, metadata={**METADATA, "corpus": f"{text_folder}/*.txt"},
    )  # fmt: skip
    assert run.code != 0
    assert "gives no token-level log-likelihoods" in run.error
    assert "Traceback" not in run.stderr


def test_an_api_that_splits_text_itself_is_refused(lm_eval, server, tiny_llama, text_folder):
    run = lm_eval(
        "--model", "local-completions",
        "--model_args", f"model=tiny,tokenizer={tiny_llama},base_url={server},tokenized_requests=False",
        "--tasks", TASK, metadata={**METADATA, "corpus": f"{text_folder}/*.txt"},
    )  # fmt: skip
    assert run.code != 0
    assert "use tokenized_requests=True" in run.error
