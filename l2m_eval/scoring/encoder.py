"""Text to token ids, exactly as the evaluated model's own tokenizer does it, with nothing added."""

from __future__ import annotations

import logging
import re
from functools import cached_property
from typing import Any

import numpy as np
from tqdm import tqdm

from l2m_eval.corpus.chunks import Chunk
from l2m_eval.corpus.documents import WholeCorpus
from l2m_eval.errors import L2MError
from l2m_eval.estimators.entropy import Entropy, ngram_entropy
from l2m_eval.scoring.claimed import claimed_context
from l2m_eval.scoring.limits import known_tokens, readable_tokens
from l2m_eval.statistics.arrays import Integers, Tokens

logger = logging.getLogger(__name__)

# Text that the entropy of the n-gram correction is estimated on, at most: about a minute for a fast tokenizer.
COUNTED_BYTES = 64 * 2**20
# Tokens beyond those wanted that a shortened text must give: the cut may change its last few.
_MARGIN = 32
# How marks are written that no running text holds: <|im_start|>, <tool_call>, [INST].
_MARK = re.compile(r"<(?P<name>[^<>\s]+)>|\[/?[A-Z_]{2,}\]")
_BRACKETED = re.compile(r"[<\[|｜].*\w.*[>\]|｜\[]|^\w+_(token|id)$", re.DOTALL)
# Elements of HTML, for which some tokenizers (Gemma's) have tokens too: they are text like any other.
_HTML = re.compile(
    "a|b|blockquote|br|caption|code|div|em|h[1-6]|hr|i|li|ol|p|pre|s|span|strong|su[bp]|table|tbody|t[dhr]|tfoot|thead|ul?"
)
# Characters in which a token is looked for at first: natural text has two to five a token.
_CHARACTERS = 8


class TooFewTokens(L2MError):
    """A chunk has fewer tokens than were asked for."""


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
        if self._tokenizer is None and name == "GGUFLM":
            raise L2MError(
                "model: the harness' gguf backend sends text that the server splits anew, so blocks would not be the "
                "tokens measured; hf reads the file: --model hf --model_args pretrained=FOLDER,gguf_file=FILE"
            )
        if self._tokenizer is None:
            raise L2MError(
                f"model: {name} gives no token-level log-likelihoods (no tokenizer of its own, as with chat-only "
                "APIs); use a backend that has them: hf, vllm, or local-completions with tokenizer=..."
            )
        if getattr(lm, "tokenized_requests", True) is False:
            raise L2MError(
                "tokenized_requests: False sends text that the server splits anew, so blocks would not be the "
                "tokens measured; use tokenized_requests=True, or hf where the server takes text alone"
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
        self._vocabulary_size = known_tokens(lm)
        if self.prefix < 0 or (self._vocabulary_size and self.prefix >= self._vocabulary_size):
            known = f"from 0 to {self._vocabulary_size - 1}" if self._vocabulary_size else "of 0 or more"
            raise L2MError(
                f"prefix_token_id: {self.prefix} is not a token of the model; name one {known} with "
                "--model_args ...,prefix_token_id=ID"
            )
        self.longest = _room(lm)
        self._control = _control_tokens(self._tokenizer)
        self._notes: set[str] = set()
        self._tokens: dict[tuple[Chunk, int], tuple[Tokens, Tokens | None]] = {}
        self._entropies: dict[tuple[object, ...], Entropy] = {}

    @property
    def rank(self) -> int:
        """The rank of this process in a distributed run; 0 is the main one."""
        return int(getattr(self._lm, "rank", 0))

    @cached_property
    def claimed_context(self) -> int | None:
        """Tokens that the model is said to read, see `l2m_eval.scoring.claimed`."""
        return claimed_context(self._lm)

    @property
    def lm(self) -> Any:
        """The harness LM whose tokenizer this is."""
        return self._lm

    def tokens(self, chunk: Chunk, count: int) -> Tokens:
        """The first `count` tokens of a chunk.

        Raises:
            TooFewTokens: the chunk has fewer.
            L2MError: it holds what the tokenizer makes a special token.
        """
        return self._first_tokens(chunk, count)[0]

    def _first_tokens(self, chunk: Chunk, count: int) -> tuple[Tokens, Tokens | None]:
        """The first tokens of a chunk and where each ends in characters, where the tokenizer tells."""
        if (chunk, count) not in self._tokens:
            # Not the whole text, where a prefix certainly contains these tokens.
            for size in (min(chunk.size, _CHARACTERS * (count + _MARGIN)), chunk.size, len(chunk.text)):
                found, ends = self._encode(chunk.text[:size], chunk.label)
                if len(found) >= count + _MARGIN:
                    break
            if len(found) < count:
                size = len(chunk.text.encode("utf-8"))
                raise TooFewTokens(
                    f"chunk_bytes: the chunk {chunk.label} of {size:,} bytes gives {len(found)} tokens under this "
                    f"tokenizer, {count} are needed; set chunk_bytes to {2 * size:,} or give shorter lengths"
                )
            self._tokens[chunk, count] = found[:count], None if ends is None else ends[:count]
        return self._tokens[chunk, count]

    def byte_ends(self, chunk: Chunk, count: int) -> Integers:
        """How many UTF-8 bytes of the chunk its first 1, 2 ... `count` tokens cover, shape (count,).

        From the character offsets of a fast tokenizer; where there are none, from how much of the text the tokens up
        to each power of two spell, interpolated between. Counted are the bytes of whole characters of the text,
        never of decoded pieces; those of a character that several tokens share are shared evenly.
        """
        tokens, ends = self._first_tokens(chunk, count)
        if ends is not None:
            raw = np.frombuffer(chunk.text[: ends.max()].encode("utf-8"), np.uint8)
            starts = np.append(np.flatnonzero((raw & 0xC0) != 0x80), len(raw))  # of characters
            covered = np.maximum.accumulate(ends)  # (count,), characters
            # Of tokens that end with the same character, the last one completes it.
            last = np.append(np.flatnonzero(np.diff(covered)), count - 1)
            at, bytes_there = [0, *(last + 1)], [0, *starts[covered[last]]]
        else:
            at, bytes_there = self._whole_characters(tokens, chunk.text)
        return np.rint(np.interp(np.arange(1, count + 1), at, bytes_there)).astype(np.int64)

    def _whole_characters(self, tokens: Tokens, text: str) -> tuple[list[int], list[int]]:
        """Numbers of tokens that spell whole characters of the text, and the bytes of these, ascending from 0."""
        whole = {0: 0}
        for power in range(len(tokens).bit_length() + 1):
            target = min(2**power, len(tokens))
            # A character has four bytes at most, so as many tokens complete it.
            for n in range(target, max(target - 4, 0), -1):
                spelt = self._spelt(tokens[:n], text)
                if spelt > 0 and spelt > (self._spelt(tokens[: n - 1], text) if n > 1 else 0):
                    whole[n] = len(text[:spelt].encode("utf-8"))
                    break
        if len(tokens) not in whole:  # its last character is begun: it counts in part
            begun = max(whole)
            size = len(text[: self._spelt(tokens, text) + 1].encode("utf-8")) - whole[begun]
            whole[len(tokens)] = whole[begun] + max(1, size * (len(tokens) - begun) // 4)
        order = sorted(whole)
        return order, [int(b) for b in np.maximum.accumulate([whole[n] for n in order])]

    def _spelt(self, tokens: Tokens, text: str) -> int:
        """How many characters of the text these tokens, its first ones, spell in full.

        By the decoded text as far as it is the text's own; where a tokenizer changes what it reads (letters of one
        case, other spaces), by the shortest prefix of the text that has as many tokens.
        """
        decoded = self._decode(tokens.tolist())
        for candidate in (
            decoded,
            decoded.lstrip(),
            text[: len(text) - len(text.lstrip())] + decoded.lstrip(),
        ):
            kept = candidate.rstrip("\ufffd")
            if text.startswith(candidate):
                return len(candidate)
            if text.startswith(kept):
                return len(kept)
        low, high = 0, len(text)
        while low < high:
            middle = (low + high) // 2
            if len(self._encode(text[:middle], "", True, offsets=False)[0]) >= len(tokens):
                high = middle
            else:
                low = middle + 1
        return low

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

    def ngram_entropy(self, corpus: WholeCorpus, n: int) -> Entropy:
        """Entropy of the n-grams of all source documents (Grassberger's estimator), counted once per corpus.

        Of more than `COUNTED_BYTES`, of a part drawn from the seed. Marks in the text are counted as the tokenizer
        has them: nothing of it is read by the model.
        """
        key = (*corpus.key, n)
        if key not in self._entropies:
            size = min(corpus.size, COUNTED_BYTES)
            if corpus.size > COUNTED_BYTES:
                self.note(
                    f"the entropy of the n-gram correction is estimated on {size / 2**20:,.0f} of "
                    f"{corpus.size / 2**20:,.0f} MiB of the corpus, documents drawn from the seed"
                )
            counted = []
            with tqdm(total=size, desc="Counting n-grams", unit="B", unit_scale=True, leave=False) as bar:
                for document in corpus.part(COUNTED_BYTES):
                    counted.append(self.encode(document.text, document.name, by_model=True).astype(np.int32))
                    bar.update(len(document.text.encode("utf-8")))
            self._entropies[key] = ngram_entropy(counted, n)
        return self._entropies[key]

    def encode(self, text: str, label: str, *, by_model: bool = False) -> Tokens:
        """Token ids of `text`; strings that spell special tokens are scored as text, or refused.

        Of text that the model itself wrote (`by_model`) nothing is refused: its marks are its own.
        """
        return self._encode(text, label, by_model, offsets=False)[0]

    def _encode(
        self, text: str, label: str, by_model: bool = False, *, offsets: bool = True
    ) -> tuple[Tokens, Tokens | None]:
        ends = None
        if hasattr(self._tokenizer, "all_special_ids") and callable(self._tokenizer):
            fast = offsets and bool(getattr(self._tokenizer, "is_fast", False))
            encoded = _tokenized(self._tokenizer, text, fast)
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


def _tokenized(tokenizer: Any, text: str, offsets: bool) -> Any:
    """Token ids of a text whose marks are taken as text, with character offsets where asked for."""
    try:
        return tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            verbose=False,
            return_attention_mask=False,
            **({"return_offsets_mapping": True} if offsets else {}),
        )
    except ValueError:
        if offsets:
            raise
        # mistral-common's tokenizer refuses the setting: it never takes text for its control tokens.
        return tokenizer(text, add_special_tokens=False)


def _control_tokens(tokenizer: Any) -> dict[int, str]:
    """Ids that no text may turn into, with their names: special tokens and added ones that look like marks.

    A special token that does not, such as "!" declared for padding or a line break that ends a text, is an ordinary
    token that text reaches by ordinary merges: special tokens are split before.

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
            if _is_mark(str(token.get("content")), bool(token.get("special")))
        }
        for name in ("bos_token_id", "eos_token_id"):
            number = getattr(tokenizer, name)
            if number is not None:
                found.setdefault(int(number), name.removesuffix("_id"))
        return {number: name for number, name in found.items() if name != info.get("unk_token")}
    special = set(getattr(tokenizer, "all_special_ids", None) or ()) - {unknown}
    spelt = {int(number): _spelling(tokenizer, int(number)) for number in special}
    names = {number: name for number, name in spelt.items() if _is_mark(name, True)}
    added = getattr(tokenizer, "added_tokens_decoder", None)
    added = added() if callable(added) else added  # a method of mistral-common's tokenizer
    for number, token in (added or {}).items():
        if _is_mark(str(token)) and number != unknown:
            names.setdefault(int(number), str(token))
    return names


def _spelling(tokenizer: Any, number: int) -> str:
    convert = getattr(tokenizer, "convert_ids_to_tokens", None)
    return str(convert(number) if callable(convert) else tokenizer.decode([number]))


def _is_mark(token: str, special: bool = False) -> bool:
    """Whether a token is written as no running text is; an element of HTML is one only where it is special."""
    found = _MARK.fullmatch(token.strip("▁ "))
    if special:
        # Some are written in other brackets, [gMASK] and ]<]image[>[ among them; a word or a sign is text.
        return found is not None or bool(_BRACKETED.search(token))
    return found is not None and _HTML.fullmatch((found["name"] or "").strip("/").lower()) is None


def _room(lm: Any) -> int:
    """Tokens that fit behind the prefix.

    The hf backend does not feed the last target token, others count it; vLLM also wants room for the token it
    generates behind the prompt, for which API backends have lowered their `max_length` already.
    """
    kinds = {kind.__name__ for kind in type(lm).__mro__}
    longest = min(int(lm.max_length), readable_tokens(lm) or int(lm.max_length))
    return longest - (0 if "HFLM" in kinds else 2 if "VLLM" in kinds else 1)
