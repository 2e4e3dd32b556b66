"""Completions servers that are not ours: their numbers are those of hf, or one line says what they do otherwise.

`tests/servers/server install NAME` installs each; the tests of those that are not installed are skipped.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import of_log_probabilities

from l2m_eval.errors import L2MError

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "tests" / "servers" / "server"
SERVERS = Path(os.environ.get("L2M_SERVERS") or REPOSITORY / "build" / "servers")
MODELS = Path(os.environ.get("L2M_MODELS") or REPOSITORY / "models")
SMOLLM2 = MODELS / "SmolLM2-135M-Instruct"
SMOLLM2_GGUF = MODELS / "gguf" / "SmolLM2-135M-Instruct.Q4_1.gguf"
# Seconds: an idle machine needs up to seventy for vLLM's first start.
PATIENCE = 600

TASK = "l2m_bipartite_text"
SETTINGS = {"documents": 3, "lengths": [16, 64, 512], "resamples": 100, "blocks": 1}
pytestmark = pytest.mark.slow


@contextmanager
def serving(name: str, model: Path) -> Iterator[str]:
    """The address of a server started by our script, for as long as the block lasts."""
    if not (SERVERS / name / "bin" / "python").exists():
        pytest.skip(f"{name} is not installed (tests/servers/server install {name})")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        environment = {
            key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
        }
        process = subprocess.Popen(
            [SCRIPT, "serve", name, model, str(port)],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**environment, "L2M_SERVERS": str(SERVERS)},
        )  # fmt: skip
        try:
            if not answers(address, process):
                log.seek(0)
                pytest.fail(f"{name} does not serve:\n{log.read().decode(errors='replace')[-4000:]}")
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether a server answers before it ends or patience does."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/v1/models", timeout=10).close()
            return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    return False


def completions(address: str, model: Any, tokenizer: Path, **arguments: Any) -> Any:
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    return LocalCompletionsAPI(
        model=str(model),
        tokenizer=str(tokenizer),
        base_url=f"{address}/v1/completions",
        max_retries=1,
        **arguments,
    )


def sums(evaluation: Any) -> list[float]:
    """Every sum of log-probabilities of every document, as the samples log has them, nats."""
    records = [json.loads(sample["resps"][0][0]) for sample in evaluation.samples]
    return [
        *(one for record in records for name in ("conditional", "marginal") for one in record[name]),
        *(one for record in records for partner in record["crossed"] for one in partner),
    ]


def test_vllm_serves_the_log_probabilities_of_hf(evaluate, shared):
    from lm_eval.models.huggingface import HFLM

    model = shared / "models" / "books-llama-5m"
    settings = {**SETTINGS, "corpus": f"{shared}/corpora/books/*.txt"}
    with serving("vllm", model) as address:
        served = evaluate(completions(address, model, model), TASK, **settings)
    direct = evaluate(HFLM(pretrained=str(model), device="cpu", dtype="float32"), TASK, **settings)
    ours, theirs = sums(served), sums(direct)
    assert len(ours) == len(theirs) >= SETTINGS["documents"] * 3 * len(SETTINGS["lengths"])
    # Both compute in float32, with kernels of their own.
    np.testing.assert_allclose(ours, theirs, atol=of_log_probabilities(256, layers=6, width=704), rtol=0)
    assert min(theirs) < -500  # nats; a token that is read otherwise changes a sum by one or more


@pytest.mark.parametrize("arguments", [{}, {"tokenized_requests": False}])
@pytest.mark.parametrize("name", ["transformers", "llama_cpp"])
def test_servers_that_take_text_alone_are_named_and_what_works_instead(evaluate, shared, name, arguments):
    tokenizer = shared / "models" / "books-llama-5m"
    model = tokenizer if name == "transformers" else smollm2_gguf()
    settings = {**SETTINGS, "corpus": f"{shared}/corpora/books/*.txt"}
    with serving(name, model) as address, pytest.raises(L2MError) as refused:
        evaluate(completions(address, model, tokenizer, **arguments), TASK, **settings)
    line = str(refused.value)
    assert "\n" not in line
    if arguments:
        assert line.startswith("tokenized_requests: False sends text that the server splits anew")
    else:
        assert line.startswith("tokenized_requests: http://127.0.0.1:")
        assert "text alone" in line
        assert "gguf_file=" in line


def smollm2_gguf() -> Path:
    if not SMOLLM2_GGUF.exists():
        pytest.skip("no released models; `make models` fetches them, or L2M_MODELS names their folder")
    return SMOLLM2_GGUF


def test_the_log_probabilities_of_llama_cpp_are_those_of_the_dequantised_model(shared):
    """What its server gives for text that begins with BOS; without BOS its answers are shifted by a token.

    Both multiply by the same weights of four bits. llama.cpp also rounds what they are multiplied with, to eight bits
    in blocks of 32 whose largest number is about 2.1 standard deviations: by 2.1 / 127 / √12 = 0.5 % of one. About
    four products follow each other in each of 30 layers, √120 · 0.5 % = 5 % of the final state if each weighs as much
    as all before it, and logits of a standard deviation of three nats and more move by 0.2. An answer for another
    token moves by three.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = smollm2_gguf()
    tokenizer = AutoTokenizer.from_pretrained(SMOLLM2)
    book = sorted((shared / "corpora" / "books").glob("*.txt"))[3].read_text(encoding="utf-8")
    # transformers' tokenizer made of a GGUF splits line breaks before digits otherwise than llama.cpp does.
    text = tokenizer.bos_token + " ".join(book[20_000:20_700].split())
    with serving("llama_cpp", gguf) as address:
        plain, begun = echoed(address, text.removeprefix(tokenizer.bos_token)), echoed(address, text)
    ids = tokenizer(text, return_tensors="pt").input_ids
    model = AutoModelForCausalLM.from_pretrained(SMOLLM2, dtype=torch.float32)
    with torch.inference_mode():
        log_probs = model(ids).logits[0, :-1].log_softmax(-1)
        expected = log_probs.gather(1, ids[0, 1:, None])[1:, 0].numpy()  # the third token's and all behind it
    # Its answer leaves BOS out, and ends with the token that it generated.
    assert begun["tokens"][:-1] == [tokenizer.decode([token]) for token in ids[0, 1:]]
    assert begun["token_logprobs"][0] is None
    moved = np.array(begun["token_logprobs"][1:-1]) - expected
    assert np.sqrt(np.mean(moved**2)) < 0.2
    assert abs(np.mean(moved)) < 4 * np.std(moved) / np.sqrt(len(moved))  # and in no direction
    shifted = np.array(plain["token_logprobs"][1 : len(expected)]) - expected[: len(expected) - 1]
    assert np.sqrt(np.mean(shifted**2)) > 3


def echoed(address: str, text: str) -> dict[str, Any]:
    """What a server answers of a text's tokens, as the harness asks for it."""
    asked = {"prompt": text, "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0}
    request = urllib.request.Request(
        f"{address}/v1/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return dict(json.load(answer)["choices"][0]["logprobs"])


def test_the_harness_own_backend_for_gguf_servers_is_refused_with_what_works(evaluate, shared):
    from lm_eval.models.gguf import GGUFLM

    with serving("llama_cpp", smollm2_gguf()) as address, pytest.raises(L2MError, match="gguf_file=FILE"):
        evaluate(GGUFLM(base_url=address), TASK, **SETTINGS, corpus=f"{shared}/corpora/books/*.txt")
