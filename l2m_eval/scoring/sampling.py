"""Texts that the model itself samples, for comparing their statistics with those of the corpus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from l2m_eval.corpora import Chunk
from l2m_eval.errors import L2MError
from l2m_eval.scoring.tokens import Encoder
from l2m_eval.settings import GeneratedSettings


@dataclass(frozen=True)
class SampleRequest:
    """One text from the model, unconditional and at temperature 1, beside one chunk of the corpus.

    Attributes:
        settings: Of the task.
        chunk: The chunk of the corpus.
        number: Index of the document; with the seed it fixes the sample where the backend lets it.
        seed: Of the run.
    """

    settings: GeneratedSettings
    chunk: Chunk
    number: int
    seed: int

    def __str__(self) -> str:
        return f"a text of up to {self.settings.length} tokens, beside {self.chunk.label}"


def sample_requests(lm: Any, requests: Sequence[SampleRequest]) -> list[str]:
    """Answer the requests with the model `lm`: for each, the token ids of its sample and of its chunk, as JSON.

    The context is the prefix token alone. A sample ends where the model ends it, or after `length` tokens; its
    tokens are those that the tokenizer splits its text into, as for any other text.

    Raises:
        L2MError: a length that the model's context does not hold, or a backend that does not sample.
    """
    encoder = Encoder(lm)
    length = requests[0].settings.length
    if length + 1 > encoder.longest:
        raise L2MError(
            f"length: samples of {length} tokens do not fit the model's context; it has room for "
            f"{encoder.longest - 1} behind the prefix token; give a shorter length"
        )
    corpus = [encoder.tokens(request.chunk, length) for request in requests]
    texts = _sampled_texts(lm, requests, encoder.prefix)
    if len(texts) > 2 and len(set(texts)) <= len(texts) // 2:
        raise L2MError(
            f"model: {type(lm).__name__} gave only {len(set(texts))} different texts in {len(texts)} samples; it "
            "does not sample at temperature 1 with seeds of their own"
        )
    samples = [
        encoder.encode(text, f"sample {request.number}")[:length]
        for text, request in zip(texts, requests, strict=True)
    ]
    return [
        json.dumps({"generated": generated.tolist(), "corpus": tokens.tolist()})
        for generated, tokens in zip(samples, corpus, strict=True)
    ]


def _sampled_texts(lm: Any, requests: Sequence[SampleRequest], prefix: int) -> list[str]:
    kinds = {kind.__name__ for kind in type(lm).__mro__}
    context = _prefix_text(lm, prefix)
    instances = []
    for request in requests:
        wishes: dict[str, Any] = {
            "until": [],
            "do_sample": True,
            "temperature": 1.0,
            "max_gen_toks": request.settings.length,
        }
        if "HFLM" in kinds:
            # transformers would take the model's own generation settings, often top_k = 50
            wishes |= {"top_k": 0, "top_p": 1.0}
        elif "TemplateAPI" in kinds or "VLLM" in kinds:
            # these are asked one by one, with the same seed each time unless told otherwise
            wishes["seed"] = request.seed + request.number
        instances.append(
            Instance(
                request_type="generate_until",
                doc={},
                arguments=(context, wishes),
                idx=request.number,
            )
        )
    if "HFLM" in kinds:
        import torch

        torch.manual_seed(requests[0].seed + requests[0].number)
    return list(lm.generate_until(instances))


def _prefix_text(lm: Any, prefix: int) -> str:
    """What the tokenizer reads as the prefix token; empty where it spells none, as for a stationary process."""
    try:
        return str(lm.tokenizer.decode([prefix], skip_special_tokens=False))
    except TypeError:
        return str(lm.tokenizer.decode([prefix]))
