"""Where each token of a chunk ends in the chunk's bytes."""

import numpy as np
import pytest
from lm_eval.models.huggingface import HFLM

from l2m_eval.corpus.chunks import Chunk
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.scoring.encoder import Encoder


def chunk(text):
    return Chunk("document", 0, 0, 0, text, len(text))


@pytest.mark.parametrize(
    "text", ["The quick brown fox, and the lazy dog. " * 9, "naïve Ωμέγα 日本語のテキスト 🙂🙃 ends. " * 9]
)
def test_a_tokens_end_is_the_size_of_the_decoded_text_before_it(tiny_llama, text):
    encoder = Encoder(HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=1))
    count = len(encoder.encode(text, "text"))
    ends = encoder.byte_ends(chunk(text), count)
    assert ends[-1] == len(text.encode("utf-8"))
    assert (np.diff(ends) >= 0).all()
    tokenizer = encoder._tokenizer
    ids = encoder.tokens(chunk(text), count)
    for n in (1, 2, 7, count // 2, count - 1):
        decoded = tokenizer.decode(ids[:n])
        # a character cut in two decodes to replacement characters: compare where none was cut
        if "�" not in decoded:
            assert ends[n - 1] == len(decoded.encode("utf-8"))


def test_a_tokenizer_without_offsets_is_asked_for_its_text():
    lm = OracleLM(process="markov")
    text = lm.tok_decode([0, 1] * 40)
    encoder = Encoder(lm)
    ends = encoder.byte_ends(chunk(text), 80)
    width = len(lm.tok_decode([0]).encode())
    # words of one width: every token covers as many bytes
    assert np.abs(ends - width * np.arange(1, 81)).max() <= 1


def test_a_backend_that_decodes_batches_alone_is_asked_for_those():
    """The API backends have no other way back to text."""
    oracle = OracleLM(process="markov")
    text = oracle.tok_decode([0, 1] * 40)

    class Batches:
        tokenizer, tok_encode = oracle.tokenizer, oracle.tok_encode
        prefix_token_id, max_length = oracle.prefix_token_id, oracle.max_length

        def decode_batch(self, batch):
            return [oracle.tok_decode(ids) for ids in batch]

    encoder = Encoder(Batches())
    assert encoder.knows_bytes
    assert encoder.byte_ends(chunk(text), 80).tolist() == Encoder(oracle).byte_ends(chunk(text), 80).tolist()


CHINESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 9


def byte_level(errors):
    """A tokenizer whose tokens are bytes, without offsets, that drops (ByT5) or marks a character that was begun."""
    from transformers import ByT5Tokenizer

    class Backend:
        prefix_token_id, max_length = 1, 4096
        tokenizer = ByT5Tokenizer()

        def tok_encode(self, text, add_special_tokens=False):
            return [b + 3 for b in text.encode("utf-8")]

        def tok_decode(self, ids, **_):
            return bytes(i - 3 for i in ids).decode("utf-8", errors)

    return Encoder(Backend())


@pytest.mark.parametrize("errors", ["ignore", "replace"])
@pytest.mark.parametrize("text", [CHINESE, "naïve Ωμέγα 🙂🙃 ends. " * 20])
def test_a_tokenizer_of_bytes_has_a_byte_a_token(errors, text):
    """Known of every token, in the middle of a character too; a bin without bytes would be infinite bits a byte."""
    ends = byte_level(errors).byte_ends(chunk(text), 300)
    # The last character may be begun: up to four bytes, of which some are counted.
    assert np.abs(ends - np.arange(1, 301)).max() <= 3
    powers = 2 ** np.arange(9)
    assert (np.diff(ends[powers - 1], prepend=0) > 0).all()


def test_a_fast_tokenizer_of_bytes_shares_a_character_evenly(tiny_llama):
    encoder = Encoder(HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=1))
    count = len(encoder.encode(CHINESE, "text"))
    ends = encoder.byte_ends(chunk(CHINESE), count)
    assert ends[-1] == len(CHINESE.encode())
    assert (np.diff(ends, prepend=0) >= 1).all()  # a character has as many bytes as it may have tokens
