"""Texts that the model itself samples, for comparing their statistics with those of the corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from lm_eval.api.instance import Instance

from l2m_eval.corpus.chunks import Chunk
from l2m_eval.errors import L2MError
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.settings import GeneratedSettings

if TYPE_CHECKING:
    import torch

# Tells the random numbers of samples from others that start from the same seed.
_DRAWS = 0x67656E


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
        encoder.encode(text, f"sample {request.number}", by_model=True)[:length]
        for text, request in zip(texts, requests, strict=True)
    ]
    return [
        json.dumps({"generated": generated.tolist(), "corpus": tokens.tolist()})
        for generated, tokens in zip(samples, corpus, strict=True)
    ]


def _sampled_texts(lm: Any, requests: Sequence[SampleRequest], prefix: int) -> list[str]:
    if _generates_as_transformers_does(lm):
        return _texts_of_own_draws(lm, requests, prefix)
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
                metadata=("", request.number, 1),  # where lm-eval 0.4 reads the two below, which 0.5 asks for
                task_name="",
                doc_id=request.number,
            )
        )
    if "HFLM" in kinds:
        import torch

        torch.manual_seed(requests[0].seed + requests[0].number)
    return list(lm.generate_until(instances))


def _generates_as_transformers_does(lm: Any) -> bool:
    """Whether `lm` is the harness' HFLM, or what derives from it and generates as it does."""
    from lm_eval.models.huggingface import HFLM

    return isinstance(lm, HFLM) and type(lm)._model_generate is HFLM._model_generate


def _texts_of_own_draws(lm: Any, requests: Sequence[SampleRequest], prefix: int) -> list[str]:
    """Texts that depend on the seed and their number alone: not on the batch, the process or the other texts."""
    import torch
    from tqdm import tqdm

    length = requests[0].settings.length
    at_once = lm._detect_batch_size() if lm.batch_size == "auto" else int(lm.batch_size)
    texts = []
    with (
        _plain_generation(lm) as stops,
        tqdm(total=len(requests), desc="Sampling", disable=lm.rank != 0, leave=False) as bar,
    ):
        for start in range(0, len(requests), at_once):
            batch = requests[start : start + at_once]
            context = torch.full((len(batch), 1), prefix, dtype=torch.long, device=lm.device)
            draws = [
                np.random.default_rng([request.seed, request.number, _DRAWS]).random(length)
                for request in batch
            ]
            sampled = lm._model_generate(
                context=context,
                max_length=1 + length,
                stop=[],
                attention_mask=torch.ones_like(context),
                do_sample=False,
                temperature=0.0,
                logits_processor=[_OwnDraws(np.array(draws))],
            )
            for ids in sampled[:, 1:].tolist():
                end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
                texts.append(lm.tok_decode(ids[:end]))
            bar.update(len(batch))
    return texts


@contextmanager
def _plain_generation(lm: Any) -> Iterator[set[int]]:
    """The model without its generation settings, where penalties and cuts of the distribution may stand.

    Yields:
        Ids of the tokens that end a text.
    """
    from transformers import GenerationConfig

    from l2m_eval.scoring.body_and_head import causal_model

    own = lm.model.generation_config
    ends = own.eos_token_id
    stops = {lm.eot_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
    plain = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=sorted(stops) or None, pad_token_id=own.pad_token_id
    )
    models = (lm.model, causal_model(lm))  # an adapter's wrapper, and the model in it
    for model in models:
        model.generation_config = plain
    try:
        yield stops
    finally:
        for model in models:
            model.generation_config = own


class _OwnDraws:
    """Leaves each row of a batch one next token, drawn with that row's own random numbers.

    The draw is by the inverse of the cumulative distribution, (rows, steps) uniform numbers in all, so that it is
    the same on every device up to rounding.
    """

    def __init__(self, uniform: np.ndarray):
        self._uniform = uniform

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(B, 1 + step), (B, V) -> (B, V): 0 at the drawn token, minus infinity elsewhere."""
        import torch

        step = input_ids.shape[1] - 1
        logits = scores.cpu() if scores.device.type == "mps" else scores  # which has no float64
        cumulative = logits.double().softmax(-1).cumsum(-1)  # (B, V)
        uniform = torch.from_numpy(self._uniform[:, step, None]).to(cumulative.device)  # (B, 1)
        drawn = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
        drawn = drawn.clamp(max=scores.shape[1] - 1).to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn, 0.0)


def _prefix_text(lm: Any, prefix: int) -> str:
    """What the tokenizer reads as the prefix token; empty where it spells none, as for a stationary process."""
    try:
        return str(lm.tokenizer.decode([prefix], skip_special_tokens=False))
    except TypeError:
        return str(lm.tokenizer.decode([prefix]))
