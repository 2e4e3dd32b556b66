"""A harness LM that is a tokenizer and nothing else, for measurements that read the text alone.

lm_eval run --model l2m-tokenizer --model_args pretrained=MODEL --tasks l2m_two_point_text ...
"""

from __future__ import annotations

from typing import Any, NoReturn

from lm_eval.api.model import TemplateLM

from l2m_eval.errors import L2MError, cause, shown
from l2m_eval.fields import flag


class TokenizerOnlyLM(TemplateLM):
    """The tokenizer of a model, without its weights.

    Args:
        pretrained: Folder or hub id of a model or of a tokenizer.
        tokenizer: Of a tokenizer, where it is not that of `pretrained`.
        revision, subfolder, gguf_file, use_fast_tokenizer, trust_remote_code, token: As for the harness' ``hf``.
        batch_size, max_batch_size, device: Accepted because the harness passes them; without effect.

    Raises:
        L2MError: no tokenizer there, an unknown argument, or a task that needs the model's probabilities.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        tokenizer: str | None = None,
        revision: str = "main",
        subfolder: str = "",
        gguf_file: str | None = None,
        use_fast_tokenizer: bool | str = True,
        trust_remote_code: bool | str = False,
        token: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | str | None = None,
        device: str | None = None,
        **unknown: Any,
    ):
        from transformers import AutoTokenizer

        super().__init__()
        if unknown:
            key, value = next(iter(unknown.items()))
            raise L2MError(
                f"{key}: {shown(value)} is not accepted by l2m-tokenizer; accepted: pretrained, tokenizer, revision, "
                "subfolder, gguf_file, use_fast_tokenizer, trust_remote_code, token"
            )
        own: dict[str, Any] = {
            "revision": revision,
            "subfolder": subfolder,
            "use_fast": flag("use_fast_tokenizer", use_fast_tokenizer),
            "trust_remote_code": flag("trust_remote_code", trust_remote_code),
            # Without a value transformers would look for a file of that name, or for no token.
            **{key: value for key, value in (("gguf_file", gguf_file), ("token", token)) if value},
        }
        name = tokenizer or pretrained
        if not name:
            raise L2MError(
                "pretrained: none is given; name a model or a tokenizer: --model_args pretrained=MODEL"
            )
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name, **own)
        except (OSError, ValueError, ImportError) as error:
            raise L2MError(f"pretrained: no tokenizer can be loaded from {name!r}: {cause(error)}") from error
        self.max_length = int(self.tokenizer.model_max_length)

    @property
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.name_or_path).replace("/", "__")

    @property
    def eot_token_id(self) -> int | None:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """Nothing is scored, so any id serves where the tokenizer has no token to start from."""
        start = self.tokenizer.bos_token_id
        return int(start if start is not None else self.tokenizer.eos_token_id or 0)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return self.tokenizer.encode(string, add_special_tokens=bool(add_special_tokens))

    def _refuse(self) -> NoReturn:
        raise L2MError(
            "model: l2m-tokenizer has no probabilities; it serves the two-point tasks. Use hf, vllm or "
            "local-completions for the others"
        )

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> NoReturn:
        self._refuse()

    def loglikelihood_rolling(self, requests: Any, **_: Any) -> NoReturn:
        self._refuse()

    def generate_until(self, requests: Any, **_: Any) -> NoReturn:
        self._refuse()
