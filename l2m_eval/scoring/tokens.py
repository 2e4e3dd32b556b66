"""Text to token ids, exactly as the evaluated model's own tokenizer does it, with nothing added."""

from __future__ import annotations

import logging
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_eval.corpora import Chunk
from l2m_eval.errors import L2MError
from l2m_eval.estimators.entropy import Entropy, ngram_entropy
from l2m_eval.windows import Tokens

logger = logging.getLogger(__name__)

# Tokens beyond those wanted that a shortened text must give: the cut may change its last few.
_MARGIN = 32
# How marks are written that no running text holds: <|im_start|>, <tool_call>, [INST].
_MARK = re.compile(r"<(?P<name>[^<>\s]+)>|\[/?[A-Z_]{2,}\]")
# Elements of HTML, for which some tokenizers (Gemma's) have tokens too: they are text like any other.
_HTML = re.compile(
    "a|b|blockquote|br|caption|code|div|em|h[1-6]|hr|i|li|ol|p|pre|s|span|strong|su[bp]|table|tbody|t[dhr]|tfoot|thead|ul?"
)
# Characters in which a token is looked for at first: natural text has two to five a token.
_CHARACTERS = 8


class Encoder:
    """The tokenizer of a harness LM: token ids without special tokens, and the prefix token.

    Attributes:
        prefix: Id of the token that every input starts with: BOS, or whatever the harness uses.
        longest: Most tokens of a document that fit behind the prefix.

    Raises:
        L2MError: the backend has no tokenizer of its own or no token that can stand at the start.
    """

    def __init__(self, lm: Any):
        name = type(lm).__name__
        self._lm = lm
        self._tokenizer: Any = lm.tokenizer if hasattr(lm, "tok_encode") else None
        if self._tokenizer is None:
            raise L2MError(
                f"model: {name} gives no token-level log-likelihoods (no tokenizer of its own, as with chat-only "
                "APIs); use a backend that has them: hf, vllm, or local-completions with tokenizer=..."
            )
        if getattr(lm, "tokenized_requests", True) is False:
            raise L2MError(
                "tokenized_requests: False sends text that the server splits anew, so blocks would not be the "
                "tokens measured; use tokenized_requests=True"
            )
        if getattr(lm, "backend", "causal") != "causal":
            raise L2MError(
                f"model: {name} is an encoder-decoder model; mutual information needs a causal one"
            )
        prefix = lm.prefix_token_id
        if prefix is None:
            raise L2MError(
                "model: the tokenizer has neither a BOS nor an EOS token to start from; "
                "name one with --model_args ...,prefix_token_id=ID"
            )
        self.prefix = int(prefix)
        self.longest = _room(lm)
        self._control = _control_tokens(self._tokenizer)
        self._vocabulary_size = _vocabulary_size(lm)
        self._notes: set[str] = set()
        self._tokens: dict[tuple[Chunk, int], tuple[Tokens, Tokens | None]] = {}
        self._entropies: dict[tuple[tuple[Chunk, ...], int], Entropy] = {}

    @property
    def rank(self) -> int:
        """Of this process in a distributed run; 0 is the main one."""
        return int(getattr(self._lm, "rank", 0))

    @property
    def lm(self) -> Any:
        """The harness LM whose tokenizer this is."""
        return self._lm

    def tokens(self, chunk: Chunk, count: int) -> Tokens:
        """The first `count` tokens of a chunk.

        Raises:
            L2MError: the chunk has fewer, or holds what the tokenizer makes a special token.
        """
        return self._first_tokens(chunk, count)[0]

    def _first_tokens(self, chunk: Chunk, count: int) -> tuple[Tokens, Tokens | None]:
        """The first tokens of a chunk and where each ends in characters, where the tokenizer tells."""
        if (chunk, count) not in self._tokens:
            # Not all of the text, where a beginning is certain to hold these tokens.
            for size in (min(chunk.size, _CHARACTERS * (count + _MARGIN)), chunk.size, len(chunk.text)):
                found, ends = self._encode(chunk.text[:size], chunk.label)
                if len(found) >= count + _MARGIN:
                    break
            if len(found) < count:
                size = len(chunk.text.encode("utf-8"))
                raise L2MError(
                    f"chunk_bytes: the chunk {chunk.label} of {size:,} bytes gives {len(found)} tokens under this "
                    f"tokenizer, {count} are needed; set chunk_bytes to {2 * size:,} or give shorter lengths"
                )
            self._tokens[chunk, count] = found[:count], None if ends is None else ends[:count]
        return self._tokens[chunk, count]

    def byte_ends(self, chunk: Chunk, count: int) -> NDArray[np.int64]:
        """How many UTF-8 bytes of the chunk its first 1, 2 ... `count` tokens cover, shape (count,).

        From the character offsets of a fast tokenizer; where there are none, from the decoded text of the
        tokens up to each power of two and interpolated between. A character that several tokens share counts
        with the first of them.
        """
        tokens, ends = self._first_tokens(chunk, count)
        if ends is not None:
            raw = np.frombuffer(chunk.text[: ends.max()].encode("utf-8"), np.uint8)
            starts = np.flatnonzero((raw & 0xC0) != 0x80)  # of characters
            return np.append(starts, len(raw))[np.maximum.accumulate(ends)]
        known = sorted({min(2**k, count) for k in range(count.bit_length() + 1)})
        sizes = [len(self._decode(tokens[:n].tolist()).encode("utf-8")) for n in known]
        return np.rint(np.interp(np.arange(1, count + 1), [0, *known], [0, *sizes])).astype(np.int64)

    @property
    def knows_bytes(self) -> bool:
        """Whether `byte_ends` can be told: the tokenizer has offsets, or the backend decodes."""
        fast = getattr(self._tokenizer, "is_fast", False)
        return bool(fast) or hasattr(self._lm, "tok_decode") or hasattr(self._lm, "decode_batch")

    def _decode(self, ids: list[int]) -> str:
        if hasattr(self._lm, "tok_decode"):
            return str(self._lm.tok_decode(ids))
        return str(self._lm.decode_batch([ids])[0])  # the API backends have only this

    def note(self, message: str) -> None:
        """Tell the user something about this model once, however many documents it concerns."""
        if message not in self._notes and self.rank == 0:
            logger.warning("l2m-eval: %s", message)
        self._notes.add(message)

    def ngram_entropy(self, chunks: tuple[Chunk, ...], n: int) -> Entropy:
        """Entropy of the n-grams of all text of `chunks` (Grassberger's estimator), counted once."""
        if (chunks, n) not in self._entropies:
            texts = [self.encode(chunk.text, chunk.label) for chunk in chunks]
            self._entropies[chunks, n] = ngram_entropy(texts, n)
        return self._entropies[chunks, n]

    def encode(self, text: str, label: str, *, by_model: bool = False) -> Tokens:
        """Token ids of `text`; strings that spell special tokens are scored as text, or refused.

        Of text that the model itself wrote (`by_model`) nothing is refused: its marks are its own.
        """
        return self._encode(text, label, by_model)[0]

    def _encode(self, text: str, label: str, by_model: bool = False) -> tuple[Tokens, Tokens | None]:
        ends = None
        if hasattr(self._tokenizer, "all_special_ids") and callable(self._tokenizer):
            fast = bool(getattr(self._tokenizer, "is_fast", False))
            encoded = self._tokenizer(
                text,
                add_special_tokens=False,
                split_special_tokens=True,
                verbose=False,
                return_attention_mask=False,
                **({"return_offsets_mapping": True} if fast else {}),
            )
            ids = encoded["input_ids"]
            if fast:
                ends = np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)[:, 1]
        elif hasattr(self._tokenizer, "encode_ordinary"):  # tiktoken, whose `encode` refuses such strings
            ids = self._tokenizer.encode_ordinary(text)
        else:
            ids = self._lm.tok_encode(text, add_special_tokens=False)
        tokens = np.asarray(ids, dtype=np.int64).reshape(-1)
        control = self._control.keys() & set(tokens.tolist())
        if control and not by_model:
            found = min(control)
            raise L2MError(
                f"corpus: {label} holds text that this tokenizer turns into the special token id {found} "
                f"({self._control[found]}); it would change what the model reads: remove it from the text"
            )
        if self._vocabulary_size and len(tokens) and tokens.max() >= self._vocabulary_size:
            raise L2MError(
                f"model: the tokenizer gives token id {tokens.max()} ({label}), the model knows "
                f"{self._vocabulary_size} tokens; use the tokenizer it was trained with"
            )
        return tokens, ends


def _control_tokens(tokenizer: Any) -> dict[int, str]:
    """Ids that no text may turn into, with their names: special tokens, and added ones that look like marks.

    Tokenizers have marks that are not declared special (``<tool_call>``, ``<|fim_prefix|>``), which are therefore
    not taken as text where text spells them. Other added tokens, such as runs of spaces, are text.
    """
    unknown = getattr(tokenizer, "unk_token_id", None)
    if hasattr(tokenizer, "tokenizer_info"):  # the harness' client of a server's tokenizer
        info = tokenizer.tokenizer_info
        added = info.get("added_tokens_decoder")
        listed = {
            int(number): token
            for number, token in (added if isinstance(added, dict) else {}).items()
            if isinstance(token, dict)
        }
        found = {
            number: str(token.get("content"))
            for number, token in listed.items()
            if token.get("special") or _is_mark(str(token.get("content")))
        }
        for name in ("bos_token_id", "eos_token_id"):
            number = getattr(tokenizer, name)
            if number is not None:
                found.setdefault(int(number), name.removesuffix("_id"))
        return {number: name for number, name in found.items() if name != info.get("unk_token")}
    special = set(getattr(tokenizer, "all_special_ids", None) or ()) - {unknown}
    names = {int(number): str(tokenizer.decode([int(number)])) for number in special}
    for number, token in (getattr(tokenizer, "added_tokens_decoder", None) or {}).items():
        if _is_mark(str(token)) and number != unknown:
            names.setdefault(int(number), str(token))
    return names


def _is_mark(token: str) -> bool:
    found = _MARK.fullmatch(token)
    return found is not None and _HTML.fullmatch((found["name"] or "").strip("/").lower()) is None


def _room(lm: Any) -> int:
    """Tokens that fit behind the prefix.

    The hf backend does not feed the last target token, others count it; vLLM also wants room for the token it
    generates behind the prompt, for which API backends have lowered their `max_length` already.
    """
    kinds = {kind.__name__ for kind in type(lm).__mro__}
    return int(lm.max_length) - (0 if "HFLM" in kinds else 2 if "VLLM" in kinds else 1)


def _vocabulary_size(lm: Any) -> int | None:
    model = getattr(lm, "model", None)
    embeddings = getattr(model, "get_input_embeddings", None)
    try:
        return int(embeddings().num_embeddings) if callable(embeddings) else None
    except (AttributeError, NotImplementedError):
        return None
