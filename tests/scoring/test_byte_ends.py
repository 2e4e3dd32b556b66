"""Where each token of a chunk ends in the chunk's bytes."""

import numpy as np
import pytest
from lm_eval.models.huggingface import HFLM

from l2m_eval.corpora import Chunk
from l2m_eval.processes.oracle import OracleLM
from l2m_eval.scoring.tokens import Encoder


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
