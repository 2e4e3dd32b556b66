"""The tokenizer that stands for a model: its own arguments reach it, others are refused."""

import pytest

from l2m_eval.errors import L2MError
from l2m_eval.harness.tokenizer_only import TokenizerOnlyLM


@pytest.mark.parametrize("name", ["dtype", "max_length", "gguf", "add_bos_token"])
def test_an_unknown_argument_is_refused(tokenizer_folder, name):
    with pytest.raises(
        L2MError, match=f"{name}: 'x' is not accepted by l2m-tokenizer; accepted: pretrained, "
    ):
        TokenizerOnlyLM(str(tokenizer_folder), **{name: "x"})


def test_the_tokenizers_own_arguments_reach_it(tokenizer_folder, monkeypatch):
    from transformers import AutoTokenizer

    seen = {}
    original = AutoTokenizer.from_pretrained

    def from_pretrained(name, **arguments):
        seen.update(arguments)
        arguments.pop("gguf_file")
        return original(name, **arguments)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
    TokenizerOnlyLM(
        str(tokenizer_folder), gguf_file="m.gguf", revision="v2", use_fast_tokenizer="False", batch_size=1
    )
    assert seen["gguf_file"] == "m.gguf"
    assert seen["revision"] == "v2"
    assert seen["use_fast"] is False


def test_a_gguf_file_that_is_not_there_is_one_line(tokenizer_folder):
    with pytest.raises(L2MError, match="pretrained: no tokenizer can be loaded from"):
        TokenizerOnlyLM(str(tokenizer_folder), gguf_file="missing.gguf")


def test_a_cause_that_stands_last_is_told(tokenizer_folder, monkeypatch):
    from transformers import AutoTokenizer

    def from_pretrained(_name, **_arguments):
        raise ValueError(
            "Couldn't instantiate the backend tokenizer from one of:\n"
            + "(1) a library, \n" * 20
            + "no sentencepiece"
        )

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
    with pytest.raises(L2MError, match=r"from one of: \(1\) a library, .* no sentencepiece$"):
        TokenizerOnlyLM(str(tokenizer_folder))
