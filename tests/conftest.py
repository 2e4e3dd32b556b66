"""Fixtures: text that tests write themselves, tiny real models, and the shared material where it exists."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# The suite draws the same inputs each time and takes the time it takes, for its outcome to be that of the change and
# not of chance or of a busy machine. `pytest --hypothesis-profile="new inputs"` looks further.
hypothesis.settings.register_profile(
    "new inputs", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "same inputs", hypothesis.settings.get_profile("new inputs"), derandomize=True
)
hypothesis.settings.load_profile("same inputs")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Past L2M_SLOW_UNTIL (seconds since 1970) no slow test is begun: CI has an hour, however slow its machine."""
    until = float(os.environ.get("L2M_SLOW_UNTIL", "inf"))
    if item.get_closest_marker("slow") and time.time() > until:
        pytest.skip("the time for slow tests is up (L2M_SLOW_UNTIL)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why tests were skipped, each reason once: where they stand in the code tells the reader of a run nothing."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    )
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")


REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real books and two trained models; tests that need them skip where they are absent."""
    folder = Path(os.environ.get("L2M_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "models" / "books-llama-5m").is_dir():
        pytest.skip(
            f"no shared material (L2M_SHARED or {folder.parent.name}/shared): real books and trained models"
        )
    return folder


def sentences(rng: random.Random, characters: int) -> str:
    """Text of made-up words with a Zipf-like distribution, in sentences and paragraphs."""
    words = ["".join(rng.choice("aeioubdfgklmnprstvz") for _ in range(rng.randint(1, 8))) for _ in range(400)]
    weights = 1 / np.arange(1, len(words) + 1)
    out: list[str] = []
    length = 0
    while length < characters:
        chosen = rng.choices(words, weights, k=rng.randint(4, 14))
        sentence = " ".join(chosen).capitalize() + rng.choice([". ", ". ", "! ", "? ", ".\n\n"])
        out.append(sentence)
        length += len(sentence)
    return "".join(out)


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine documents of about 8 kB and one that is too short for most settings."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(9):
        (folder / f"document{number}.txt").write_text(
            sentences(random.Random(number), 8000), encoding="utf-8"
        )
    (folder / "short.txt").write_text("Too short to measure.", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real byte-level BPE tokenizer with a BOS token, trained on the spot."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|bos|>", "<|eos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([sentences(random.Random(99), 20000)], trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A real Llama of two layers with random weights and a context of 128 tokens."""
    import shutil

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # random weights as initialised predict almost the same for every context
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    model.save_pretrained(folder)
    for file in tokenizer_folder.iterdir():
        shutil.copy(file, folder)
    return folder
