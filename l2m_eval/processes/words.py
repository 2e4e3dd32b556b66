"""Text form of a process' tokens: one token is one fixed-width word, so that text and token ids are one to one.

Every token's text is a space and a word of base-32 digits, ``" 0a3"``. Texts concatenate as token sequences
do, every token has the same number of bytes, and any other model's tokenizer can read the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from l2m_eval.errors import L2MError

_DIGITS = "0123456789abcdefghijklmnopqrstuv"


class WordTokenizer:
    """Token ids to words and back. The id after the last token stands for the start of a stream.

    Attributes:
        vocabulary_size: Number of tokens of the process, without the start id.
        width: Characters of a word; a token's text has one more, the space before it.
    """

    bos_token = eos_token = "<start>"
    unk_token_id = None
    chat_template = None

    def __init__(self, vocabulary_size: int):
        self.vocabulary_size = vocabulary_size
        self.width = 1
        while len(_DIGITS) ** self.width < vocabulary_size:
            self.width += 1

    def __len__(self) -> int:
        return self.vocabulary_size + 1

    @property
    def bos_token_id(self) -> int:
        """The start of a stationary stream."""
        return self.vocabulary_size

    @property
    def eos_token_id(self) -> int:
        """The same id: a stream has a start and no end."""
        return self.vocabulary_size

    @property
    def all_special_ids(self) -> list[int]:
        return [self.bos_token_id]

    @property
    def name(self) -> str:
        return f"l2m-words-{self.vocabulary_size}"

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The word of every token."""
        shifts = range(5 * (self.width - 1), -1, -5)
        return tuple(
            "".join(_DIGITS[token >> shift & 31] for shift in shifts) for token in range(self.vocabulary_size)
        )

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.words)}

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Token ids of a text of words; the start id in front where asked for, or where the text names it.

        Raises:
            L2MError: a word that is not a token, with its place.
        """
        words = text.split()
        start = []
        if words[:1] == [self.bos_token]:
            start, words = [self.bos_token_id], words[1:]
        elif add_special_tokens:
            start = [self.bos_token_id]
        try:
            return start + [self._ids[word] for word in words]
        except KeyError:
            place, word = next((i, word) for i, word in enumerate(words) if word not in self._ids)
            raise L2MError(
                f"text: word {place + 1}, {word[:40]!r}, is not a token of this process; its texts are words of "
                f"{self.width} base-32 digits from {self.words[0]!r} to {self.words[-1]!r}, separated by spaces"
            ) from None

    def decode(self, ids: int | Iterable[int], skip_special_tokens: bool = True) -> str:
        """Text of token ids; the start id has none, unless special tokens are kept.

        Raises:
            L2MError: an id outside the vocabulary.
        """
        tokens: Sequence[int] = [ids] if isinstance(ids, int) else [int(token) for token in ids]
        words = []
        for token in tokens:
            if 0 <= token < self.vocabulary_size:
                words.append(" " + self.words[token])
            elif token != self.bos_token_id:
                raise L2MError(
                    f"token id: {token} is not accepted; give an integer from 0 to {len(self) - 1}"
                )
            elif not skip_special_tokens:
                words.append(self.bos_token)
        return "".join(words)
