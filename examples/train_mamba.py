"""Train a tiny Mamba-2 on books, about four minutes on an idle core: its history state has one size at every length.

    python examples/train_mamba.py --texts 'books/*.txt' --tokenizer books-llama-5m --output books-mamba2-1m

It is no good language model, and need not be: the example is about the shape of its curve.
"""

from __future__ import annotations

import argparse
import glob
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, Mamba2Config, Mamba2ForCausalLM

LENGTH, BATCH = 256, 16
RATE = 6e-3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", required=True, help="glob of text files")
    parser.add_argument("--tokenizer", required=True, help="folder or hub id")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--steps", type=int, default=350)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    files = sorted(glob.glob(arguments.texts))
    books = [
        tokenizer(Path(file).read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
        for file in files
    ]
    tokens = torch.tensor(np.concatenate(books))  # (N,)
    config = Mamba2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=3,
        expand=2,
        head_dim=64,
        num_heads=4,
        state_size=16,
        n_groups=1,
        chunk_size=32,  # transformers' own scan takes memory and time like length times this
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    model = Mamba2ForCausalLM(config)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokens):,} tokens of {len(files)} books"
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05, betas=(0.9, 0.95))
    smooth = None
    for step in range(arguments.steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 30) * (1 - 0.95 * step / arguments.steps)
        starts = rng.integers(0, len(tokens) - LENGTH, BATCH)
        batch = torch.stack([tokens[s : s + LENGTH] for s in starts])  # (B, T)
        batch[:, 0] = tokenizer.bos_token_id  # as the measurement begins every window
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        smooth = loss.item() if smooth is None else 0.97 * smooth + 0.03 * loss.item()
        if (step + 1) % 25 == 0:
            print(f"step {step + 1}, {(step + 1) * LENGTH * BATCH:,} tokens, loss {smooth:.3f}", flush=True)
    model.save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    print(arguments.output)


if __name__ == "__main__":
    main()
