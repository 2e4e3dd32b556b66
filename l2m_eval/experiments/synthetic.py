"""The paper's synthetic experiment: models with and without a growing state on a process with a known law.

Source: arXiv 2503.04725, section 5, figure 3.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from l2m_eval.experiments.plan import ModelPlan, Variant
from l2m_eval.experiments.results import TrainedResult, load_result
from l2m_eval.measurements.kl import kl_curve
from l2m_eval.processes import TokenProcess, ValueProcess


def run_variant(
    variant: Variant,
    output: Path,
    *,
    cpu: bool = False,
    processes: int = 1,
    progress: bool = True,
    models: Sequence[str] = (),
) -> list[TrainedResult]:
    """Train and measure every model of a variant at every length; what is done already is read, not repeated.

    Args:
        variant: What to do.
        output: Folder of checkpoints, models and results.
        cpu: Keep off accelerators.
        processes: Trainings at once, each with an equal share of the cores; models as small as these gain little from
            more than one core each.
        progress: Show progress: Trainer's own for one process, finished trainings for several.
        models: Names of models, to do these alone; empty for all.
    """
    from tqdm import tqdm

    runs = [
        Run(
            variant,
            plan,
            length,
            str(output / variant.name / plan.name.replace(" ", "_") / f"L{length}"),
            cpu,
        )
        for plan in variant.models
        for length in variant.lengths
        if (not models or plan.name in models) and length <= plan.longest
    ]
    waiting = [run for run in runs if run.result() is None]
    waiting.sort(key=lambda run: -run.length)  # the longest first, so that processes end together
    with tqdm(
        total=len(runs),
        initial=len(runs) - len(waiting),
        desc=variant.name,
        unit="model",
        disable=not progress,
    ) as bar:
        if processes == 1 or len(waiting) < 2:
            for run in waiting:
                bar.set_postfix_str(f"{run.plan.name}, L = {run.length}")
                run.do(progress)
                bar.update()
        else:
            for _ in _in_processes(waiting, min(processes, len(waiting)), (os.cpu_count() or 1) // processes):
                bar.update()
    return [result for run in runs if (result := run.result()) is not None]


def _in_processes(runs: Sequence[Run], processes: int, threads: int) -> Iterator[None]:
    """Do the runs in processes of so many threads each; one item for each run that ends."""
    with ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_use_threads,
        initargs=(max(1, threads),),
    ) as pool:
        try:
            for future in as_completed([pool.submit(run.do, False) for run in runs]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or an error is told when all others are done, hours later
            raise


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


@dataclass(frozen=True)
class Run:
    """One model, trained and measured at one length, in a folder of its own."""

    variant: Variant
    plan: ModelPlan
    length: int
    folder: str
    cpu: bool

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.variant, self.plan, self.length)

    def result(self) -> TrainedResult | None:
        """The finished result of this very plan; None where there is none yet."""
        done = load_result(Path(self.folder) / "result.json")
        return done if done is not None and done.fingerprint == self.fingerprint else None

    def do(self, progress: bool) -> None:
        """Train, measure, save; checkpoints are removed once the result stands."""
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        stamp = folder / "fingerprint"
        if not stamp.is_file() or stamp.read_text() != self.fingerprint:
            # checkpoints of another plan are not gone on from
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            stamp.write_text(self.fingerprint)
        result = _train_and_measure(self, progress)
        result.save(folder / "result.json")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def fingerprint(variant: Variant, plan: ModelPlan, length: int) -> str:
    """A fingerprint of everything that a result depends on, except the machine."""
    content = {
        "process": [variant.process.name, variant.process.settings],
        "model": asdict(plan),
        "training": asdict(variant.training),
        "evaluation": asdict(variant.evaluation),
        "seed": variant.seed,
        "length": length,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _train_and_measure(run: Run, progress: bool) -> TrainedResult:
    from l2m_eval.experiments import divergence
    from l2m_eval.experiments.training import train

    _quiet_transformers()
    start = time.perf_counter()
    variant, plan, length, folder = run.variant, run.plan, run.length, Path(run.folder)
    model = train(variant, plan, length, folder, cpu=run.cpu, progress=progress)
    process, evaluation = variant.process, variant.evaluation
    assert isinstance(process, (TokenProcess, ValueProcess))
    documents = divergence.evaluation_documents(process, evaluation, length, variant.seed)
    if isinstance(process, ValueProcess):
        terms, how = divergence.gaussian_divergence(process, model, documents, evaluation)
    else:
        predict = divergence.token_predictions(model, process.vocabulary_size)
        terms, how = divergence.token_divergence(process, predict, documents, evaluation)
        save_for_the_harness(model, process, folder / "model")
    curve = kl_curve(terms)
    return TrainedResult(
        variant=variant.name,
        model=plan.name,
        kind=plan.kind,
        length=length,
        kl=curve.overall.value,
        kl_error=curve.overall.standard_error,
        terms=how,
        bins=tuple((b.name, b.first, b.last) for b in curve.bins),
        kl_by_bin=tuple(curve.kl.tolist()),
        error_by_bin=tuple(curve.standard_error.tolist()),
        information=process.bipartite_mi(length // 2, length),
        state=float(_state(model.config, length)),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        documents=curve.documents,
        seconds=round(time.perf_counter() - start, 1),
        device=_device(model),
        fingerprint=run.fingerprint,
    )


def _quiet_transformers() -> None:
    """Silence notes on missing Mamba kernels, which docs/reproduce.md explains, and progress bars for small files."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _state(configuration: Any, length: int) -> float:
    from l2m_eval.history_state import history_state_size

    return float(history_state_size(configuration, [length]).total[0])


def _device(model: Any) -> str:
    import torch

    device = next(model.parameters()).device
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type}, {torch.get_num_threads()} thread(s)"


def save_for_the_harness(model: Any, process: TokenProcess, folder: Path) -> None:
    """Save a model with the process' words as its tokenizer: `--model hf --model_args pretrained=FOLDER` reads it."""
    model.save_pretrained(folder)
    save_tokenizer(process, folder)


def save_tokenizer(process: TokenProcess, folder: Path) -> None:
    """The process' words as a tokenizer of transformers, which models and API clients load from a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from l2m_eval.processes import WordTokenizer

    words = WordTokenizer(process.vocabulary_size)
    vocabulary = {word: token for token, word in enumerate(words.words)} | {
        words.bos_token: words.bos_token_id
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=words.bos_token, eos_token=words.bos_token
    ).save_pretrained(folder)
