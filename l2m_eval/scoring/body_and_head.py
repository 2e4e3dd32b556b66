"""The parts of a causal model of transformers: its body, its head alone, and what they call their state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from l2m_eval.errors import L2MError

_USUAL_WIDTH = 4096


def state_argument(body: Any) -> str:
    """What transformers calls the cache: `past_key_values` until 5.23."""
    return "cache" if "cache" in inspect.signature(body.forward).parameters else "past_key_values"


def causal_model(lm: Any) -> Any:
    model = lm.model
    # Adapters of PEFT sit inside the layers, so the model below its wrapper already has them.
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def body_of(model: Any) -> Any:
    return getattr(model, _body_name(model))


def _body_name(model: Any) -> str:
    # Gemma 3 in transformers 4 has a prefix that it does not use.
    for name in (model.base_model_prefix, "model"):
        if getattr(model, name, None) not in (None, model):
            return str(name)
    raise TypeError("no body module")


def head_size(model: Any) -> int | None:
    """Tokens that the head predicts; None where it does not say."""
    weight = _head_weight(model)
    return int(weight.shape[0]) if weight is not None else None


def head_width(model: Any) -> int:
    """Numbers of a hidden state that the head takes; a usual one where it does not say."""
    weight = _head_weight(model)
    return int(weight.shape[-1]) if weight is not None else _USUAL_WIDTH


def _head_weight(model: Any) -> Any:
    try:
        return getattr(model.get_output_embeddings(), "weight", None)
    except (AttributeError, NotImplementedError):  # remote code
        return None


def check_shape(model: Any, what: str, answer: torch.Tensor, wanted: torch.Size) -> None:
    """Raise `L2MError` where a model does not answer with one vector for each token it was given."""
    if answer.ndim != 3 or answer.shape[:2] != wanted:
        raise L2MError(
            f"model: {type(model).__name__} answered {tuple(wanted)} tokens with {what} of shape "
            f"{tuple(answer.shape)}; a causal model gives one vector for each token"
        )


class _StoredBody(torch.nn.Module):
    """Stands where the body was and returns hidden states computed before, in the body's own kind of output.

    What a head asks of the body beside them (Falcon-H1: a multiplier) is the body's own.
    """

    def __init__(self, kind: Any, body: Any) -> None:
        super().__init__()
        self._kind = kind
        self._asked = [body]  # in a list, so that it is no module of this one
        self.hidden: torch.Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_asked"][0], name)

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        return self._kind(last_hidden_state=self.hidden)


@contextmanager
def head_alone(model: Any, kind: Any) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """The model's own forward as a function of hidden states, (1, p, H) -> (1, p, V); the body is put back after."""
    name, body = _body_name(model), body_of(model)
    stored = _StoredBody(kind, body)

    def head(hidden: torch.Tensor) -> torch.Tensor:
        stored.hidden = hidden
        ids = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
        return logits

    model._modules[name] = stored
    try:
        yield head
    finally:
        model._modules[name] = body
