"""Training with transformers' Trainer and accelerate: one device or several, bf16 where it pays, resumable."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from l2m_eval.experiments.models import GaussianModel, gaussian_loss, token_model
from l2m_eval.experiments.plan import ModelPlan, Variant
from l2m_eval.processes import TokenProcess, ValueProcess

logger = logging.getLogger(__name__)

# Streams of random numbers, so that no training sequence is one of those the divergence is measured on.
TRAINING, EVALUATION = 0x747261, 0x657661


class FreshSequences(Dataset[dict[str, Tensor]]):
    """Sequences of a process, each drawn from (seed, its index): any order, any worker, the same sequence."""

    def __init__(self, process: TokenProcess | ValueProcess, length: int, count: int, seed: int):
        self.process, self.length, self.count, self.seed = process, length, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index >= self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, TRAINING, index])
        if isinstance(self.process, ValueProcess):
            return {"values": torch.tensor(self.process.one(self.length, rng), dtype=torch.float32)}
        tokens = self.process.sample(1, self.length, rng)[0]
        inputs = np.append(self.process.vocabulary_size, tokens[:-1])
        return {"input_ids": torch.from_numpy(inputs), "labels": torch.from_numpy(tokens)}


def new_model(variant: Variant, plan: ModelPlan, length: int) -> Any:
    """The model before training."""
    if isinstance(variant.process, ValueProcess):
        return GaussianModel(plan, variant.process, length, variant.seed)
    assert isinstance(variant.process, TokenProcess)
    return token_model(plan, variant.process.vocabulary_size, length, variant.seed)


def _trainer_class(gaussian: bool) -> Any:
    from transformers import Trainer

    class NextTokenTrainer(Trainer):
        """Position t of the input predicts position t of the labels: nothing is read that is not scored."""

        def compute_loss(
            self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
        ) -> Any:
            if gaussian:
                outputs = model(inputs["values"])
                loss = gaussian_loss(outputs, inputs["values"])
            else:
                outputs = model(input_ids=inputs["input_ids"], use_cache=False)
                loss = torch.nn.functional.cross_entropy(
                    outputs.logits.float().flatten(0, 1), inputs["labels"].flatten()
                )
            return (loss, outputs) if return_outputs else loss

        def log(self, logs: dict[str, float], *_: Any, **__: Any) -> None:
            """To the log alone: stdout is for results."""
            logger.debug("l2m-eval: step %d: %s", self.state.global_step, logs)

    return NextTokenTrainer


def train(
    variant: Variant, plan: ModelPlan, length: int, folder: Path, *, cpu: bool = False, progress: bool = True
) -> Any:
    """Train one model on sequences of one length; continues from the last checkpoint in `folder`, if there is one.

    Returns:
        The trained model, in evaluation mode.
    """
    from transformers import TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    training = variant.training
    bf16 = not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        max_steps=training.steps,
        per_device_train_batch_size=training.batch,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, min(100, training.steps // 10)),
        save_strategy="steps",
        save_steps=max(1, training.steps // training.saves),
        save_total_limit=1,
        logging_steps=max(1, training.steps // 20),
        bf16=bf16,
        use_cpu=cpu,
        seed=variant.seed,
        data_seed=variant.seed,
        remove_unused_columns=False,
        dataloader_num_workers=0 if cpu or not torch.cuda.is_available() else 4,
        report_to=[],
        disable_tqdm=not progress,
    )
    assert isinstance(variant.process, (TokenProcess, ValueProcess))
    # Enough for every step on every device: no sequence comes twice.
    count = training.steps * training.batch * max(1, arguments.n_gpu) * max(1, arguments.world_size)
    trainer = _trainer_class(isinstance(variant.process, ValueProcess))(
        model=new_model(variant, plan, length),
        args=arguments,
        train_dataset=FreshSequences(variant.process, length, count, variant.seed),
    )
    checkpoints = folder / "checkpoints"
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    if last is not None:
        logger.info("l2m-eval: %s, length %d: continuing from %s", plan.name, length, Path(last).name)
    trainer.train(resume_from_checkpoint=last)
    return trainer.model.eval()
