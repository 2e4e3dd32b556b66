"""Properties of windows of a text under tokenizers of every kind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from one_line import valid_or_one_line

from l2m_eval.corpus.chunks import draw_sample
from l2m_eval.measurements.position import PositionRequest
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.scoring.windows import Window
from l2m_eval.settings import PositionSettings, read_settings


class _Tokenizers:
    """Two tokenizers made on the spot: bytes, and words with an unknown token (which does not round-trip)."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, kind: str) -> Any:
        if kind not in self._made:
            from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
            from transformers import PreTrainedTokenizerFast

            if kind == "bytes":
                alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
                vocabulary = {"<|endoftext|>": 0, **{letter: n for n, letter in enumerate(alphabet, 1)}}
                tokenizer = Tokenizer(models.BPE(vocabulary, []))
                tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
                tokenizer.decoder = decoders.ByteLevel()
            else:
                tokenizer = Tokenizer(
                    models.WordLevel({"<|endoftext|>": 0, "<unk>": 1, "a": 2, "the": 3}, "<unk>")
                )
                tokenizer.normalizer = normalizers.Lowercase()
                tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
            self._made[kind] = PreTrainedTokenizerFast(
                tokenizer_object=tokenizer,
                eos_token="<|endoftext|>",
                bos_token="<|endoftext|>",
                **({"unk_token": "<unk>"} if kind == "words" else {}),
            )
        return self._made[kind]


_TOKENIZERS = _Tokenizers()


class _LM:
    """As much of a harness LM as planning windows takes."""

    max_length, rank = 4096, 0

    def __init__(self, kind: str) -> None:
        self.tokenizer = _TOKENIZERS[kind]
        self.prefix_token_id = self.tokenizer.bos_token_id

    def tok_encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens))


def windows_of_a_text(data: bytes) -> None:
    """Any text is cut, split into tokens and planned; its special-token strings are text, its bytes are counted."""
    text = data.decode("utf-8", "ignore")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.txt"
        file.write_text(text, encoding="utf-8", newline="")
        for kind in ("bytes", "words"):
            with valid_or_one_line():
                task = read_settings(PositionSettings, {"corpus": str(file), "documents": 2, "length": 4})
                sample = draw_sample(task, 4, 0, pairing="none")
                encoder = Encoder(_LM(kind))
                for chunk in sample.chunks:
                    (window,) = PositionRequest(task, chunk).plan(encoder).windows
                    assert 0 not in window.target
                    assert len(window.target) == 4
                    ends = encoder.byte_ends(chunk, 4)
                    assert (np.diff(ends) >= 0).all()
                    assert ends[0] >= 0
                    assert ends[-1] <= len(chunk.text.encode("utf-8"))
                    if kind == "bytes":
                        assert bytes(chunk.text, "utf-8").startswith(bytes(window_bytes(window)))


def window_bytes(window: Window) -> list[int]:
    """The bytes that tokens of the tokenizer of bytes stand for."""
    from tokenizers import pre_tokenizers

    order = sorted(pre_tokenizers.ByteLevel.alphabet())
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    by_letter = {chr(byte): byte for byte in printable} | {
        chr(256 + n): byte for n, byte in enumerate(others)
    }
    return [by_letter[order[token - 1]] for token in window.target]
