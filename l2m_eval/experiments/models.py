"""Models from a plan: architectures of Hugging Face transformers, with a token head or a Gaussian one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from l2m_eval.experiments.plan import ModelPlan
from l2m_eval.processes import ValueProcess

# The Gaussian head's standard deviation stays within e^±10.
_WIDEST = 10.0


def configuration(plan: ModelPlan, vocabulary_size: int, longest: int) -> Any:
    """The Hugging Face configuration; the id after the last token stands for the start of a sequence."""
    from transformers import LlamaConfig, Mamba2Config, MambaConfig

    start = vocabulary_size
    common = {
        "vocab_size": vocabulary_size + 1,
        "hidden_size": plan.width,
        "num_hidden_layers": plan.layers,
        "tie_word_embeddings": False,
        "bos_token_id": start,
        "eos_token_id": start,
        "pad_token_id": None,
    }
    if plan.kind == "transformer":
        return LlamaConfig(
            intermediate_size=2 * plan.width,
            num_attention_heads=plan.heads,
            num_key_value_heads=plan.heads,
            max_position_embeddings=longest + 1,
            initializer_range=0.05,
            **common,
        )
    if plan.kind == "mamba":
        return MambaConfig(state_size=plan.state, expand=plan.expand, use_associative_scan=False, **common)
    return Mamba2Config(
        state_size=plan.state,
        expand=plan.expand,
        num_heads=plan.heads,
        head_dim=plan.width * plan.expand // plan.heads,
        n_groups=1,
        chunk_size=plan.chunk,
        **common,
    )


def token_model(plan: ModelPlan, vocabulary_size: int, longest: int, seed: int) -> Any:
    """A causal language model over the process' tokens, its weights drawn from the seed."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(configuration(plan, vocabulary_size, longest))


class GaussianModel(nn.Module):
    """A sequence model of real values: a transformers body between a linear embedding and a Gaussian head.

    Position t reads a learnt start vector and the values before it, and predicts the mean and the standard deviation
    of the value there. Where values have names, it reads the name of what it is to predict, too, and every value
    comes with its own.
    """

    def __init__(self, plan: ModelPlan, process: ValueProcess, longest: int, seed: int):
        super().__init__()
        from transformers import AutoModel

        torch.manual_seed(seed)
        self.config = configuration(plan, vocabulary_size=1, longest=longest)
        self.body = AutoModel.from_config(self.config)
        self.embedding = nn.Linear(1, plan.width)
        self.start = nn.Parameter(torch.zeros(plan.width))
        self.head = nn.Linear(plan.width, 2)
        nn.init.zeros_(self.head.weight)  # the first prediction is N(0, 1), the process' marginal
        nn.init.zeros_(self.head.bias)
        self.schedule: Tensor
        self.register_buffer("schedule", torch.from_numpy(process.schedule(longest).copy()))
        self.read_name = self.asked_name = None
        if process.names:
            self.read_name, self.asked_name = (nn.Embedding(process.names, plan.width) for _ in range(2))

    def forward(self, values: Tensor) -> dict[str, Tensor]:
        """Mean and logarithm of the standard deviation of every value, each (batch, length)."""
        read = self.embedding(values[:, :-1, None])  # (batch, length - 1, width)
        if self.read_name is not None:
            read = read + self.read_name(self.schedule[: values.shape[1] - 1])
        inputs = torch.cat([self.start.expand(len(values), 1, -1), read], dim=1)
        if self.asked_name is not None:
            inputs = inputs + self.asked_name(self.schedule[: values.shape[1]])
        hidden = self.body(inputs_embeds=inputs, use_cache=False).last_hidden_state
        mean, log_deviation = self.head(hidden).float().unbind(-1)
        return {"mean": mean, "log_deviation": log_deviation.clamp(-_WIDEST, _WIDEST)}


def gaussian_loss(prediction: dict[str, Tensor], values: Tensor) -> Tensor:
    """Mean negative log-density, nats."""
    deviation = prediction["log_deviation"].exp()
    errors = (values - prediction["mean"]) / deviation
    return (errors**2 / 2 + prediction["log_deviation"]).mean() + math.log(2 * math.pi) / 2
