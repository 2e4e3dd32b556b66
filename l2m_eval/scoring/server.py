"""A server's error as one line that names the setting to change."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from l2m_eval.errors import L2MError, shown

Answer = TypeVar("Answer")

# How the harness logs what a server said, before it raises what names the status alone.
_LOGGED = ("API request failed with error message: ", "Response text: ")
# Characters of a server's reason that are quoted.
_QUOTED = 300


def ask_server(lm: Any, call: Callable[[], Answer]) -> Answer:
    """The answer of `call`, which asks the server behind a harness LM.

    Raises:
        L2MError: no answer, one that is an error, or one that the harness cannot read.
    """
    import asyncio

    failures: tuple[type[Exception], ...] = (OSError, asyncio.TimeoutError, ValueError)  # the last: no JSON
    try:
        from aiohttp import ClientError
        from requests import RequestException

        failures += (ClientError, RequestException)
    except ImportError:  # then the LM speaks to its server in another way
        pass
    with _failures_told_once(), _reasons_of_the_server() as reasons:
        try:
            return call()
        except L2MError as error:
            refusal = str(error)
        except failures as error:
            refusal = _refusal(lm, error, reasons[-1] if reasons else "")
        except (KeyError, IndexError, TypeError, AttributeError, AssertionError) as error:
            refusal = (
                f"model: the answer of {getattr(lm, 'base_url', 'the server')} is not what {type(lm).__name__} reads "
                f"({type(error).__name__}: {error}); it must give the log-probability of every token of a prompt"
            )
        gc.collect()
    raise L2MError(refusal)


def _refusal(lm: Any, error: Exception, said: str) -> str:
    """One line for a request that failed, from its status and the server's own words."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None) or getattr(error, "status", None)
    url = getattr(lm, "base_url", "the server")
    reason = f"{url} answered {status}: {shown(said)}"
    words = said.lower()
    if status in (401, 403):
        return f"base_url: {reason}; give the key it wants in OPENAI_API_KEY, or auth_token in --model_args"
    if said and status in (400, 404, 413, 422, 500, 501):
        if any(word in words for word in ("context length", "context size", "maximum", "too long")):
            return f"max_length: {reason}; {lm.max_length} is assumed, give the server's own in --model_args"
        if any(word in words for word in ("logprob", "log-prob", "echo")):
            return f"model: {reason}; it must support echo with logprobs in /v1/completions, as vLLM does"
        if any(word in words for word in ("vocab", "out of range", "token id is", "invalid token")):
            return f"tokenizer: {reason}; give the tokenizer of the served model in --model_args"
        if any(word in words for word in ("string", "str type", "token ids", "list", "array", "prompt")):
            return (
                f"tokenized_requests: {reason}; it seems to take text alone, which it would split anew, so that "
                "blocks would not be the tokens measured: use a server that takes token ids (vLLM), or hf, which "
                "reads GGUF files as well (pretrained=FOLDER,gguf_file=FILE)"
            )
        if "model" in words:
            return (
                f"model: {reason}; {shown(getattr(lm, 'model', None))} was asked for, give the name it serves"
            )
        if status == 404:
            return f"base_url: {reason}; give the address of completions, such as http://HOST:PORT/v1/completions"
    tried = f"after {getattr(lm, 'max_retries', 1)} attempts"
    line = " ".join(str(error).split()) or type(error).__name__
    return f"base_url: no answer from {url} {tried}: {line}" + (f" ({shown(said)})" if said else "")


@contextmanager
def _reasons_of_the_server() -> Iterator[list[str]]:
    """What servers said of requests that failed, as the harness logs it."""
    reasons: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            for start in _LOGGED:
                if start in message:
                    reasons.append(_words(message.split(start, 1)[1].removesuffix(". Retrying...")))
                    return

    keeper, log = Keeper(logging.WARNING), logging.getLogger("lm_eval.models.api_models")
    log.addHandler(keeper)
    try:
        yield reasons
    finally:
        log.removeHandler(keeper)


def _words(body: str) -> str:
    """The sentence in a server's error: the message of its JSON where it is one, else the text as it is."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        found = body
    for _ in range(3):
        if isinstance(found, dict):
            found = next((found[key] for key in ("error", "message", "detail") if found.get(key)), found)
        elif isinstance(found, list) and found:
            found = found[0].get("msg", found[0]) if isinstance(found[0], dict) else found[0]
    return " ".join(str(found).split())[:_QUOTED]


@contextmanager
def _failures_told_once() -> Iterator[None]:
    """Silence asyncio's tracebacks of further requests that fail together with the first."""

    def is_told(record: logging.LogRecord) -> bool:
        return "was never retrieved" not in record.getMessage()

    log = logging.getLogger("asyncio")
    log.addFilter(is_told)
    try:
        yield
    finally:
        log.removeFilter(is_told)
