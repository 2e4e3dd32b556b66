"""A harness LM whose log-likelihoods are a known process' own: what a perfect model of it would answer.

    lm_eval run --model l2m-oracle --model_args process=santa_fe,beta=0.75,facts=4096 --tasks ...

Its tokens are the process' tokens, written as fixed-width words (`l2m_eval.processes.words`). Every input
starts the process afresh, with or without the prefix token in front: the process is stationary, so what comes
before a block is unknown rather than empty.

With ``memory=128`` it predicts from the last 128 tokens alone: a model whose effective context is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from l2m_eval.errors import L2MError
from l2m_eval.fields import integer
from l2m_eval.processes import PROCESSES, LimitedMemory, Process, TokenProcess, make_process
from l2m_eval.processes.words import WordTokenizer
from l2m_eval.statistics.arrays import Array, Tokens

# Tokens scored at once, padding included.
_TOKENS_AT_ONCE = 2**21


class OracleLM(TemplateLM):
    """The process itself as a language model.

    Args:
        process: A name of `l2m_eval.processes.PROCESSES`, or a process.
        seed: Of sampled generations.
        memory: Predict from the last so many tokens alone (`l2m_eval.processes.LimitedMemory`); None: from all.
        max_length: Tokens of an input, the prefix token included. Nothing in the process limits it; it is
            what tasks are told, and what `loglikelihood_rolling` cuts long texts at.
        batch_size, max_batch_size, device: Accepted because the harness passes them; without effect.
        settings: The process' own settings.

    Raises:
        L2MError: an unknown process or setting, a value outside its range, or a process without a vocabulary.
    """

    is_exact = True

    def __init__(
        self,
        /,  # so that any model argument, even one called self, is a setting of the process or refused as none
        process: str | Process = "santa_fe",
        seed: int | str = 1234,
        memory: int | str | None = None,
        max_length: int | str = 8192 + 1,
        batch_size: int | str | None = None,
        max_batch_size: int | str | None = None,
        device: str | None = None,
        **settings: Any,
    ):
        super().__init__()
        if isinstance(process, Process) and settings:
            key, value = next(iter(settings.items()))
            raise L2MError(
                f"{key}: {value!r} is not accepted beside a process that is made already; make it with it"
            )
        made = process if isinstance(process, Process) else make_process(process, **settings)
        if not isinstance(made, TokenProcess):
            tokens = [name for name, kind in PROCESSES.items() if issubclass(kind, TokenProcess)]
            raise L2MError(
                f"process: {made.name!r} has no vocabulary that a language model could predict; "
                f"accepted: {', '.join(tokens)}"
            )
        self.process: TokenProcess = (
            made if memory is None else LimitedMemory(made, integer(1)("memory", memory))
        )
        self.seed: int = integer(0, 2**63 - 1)("seed", seed)
        self.max_length: int = integer(2)("max_length", max_length)
        self.tokenizer = WordTokenizer(made.vocabulary_size)
        self.batch_size = batch_size
        self._device = device

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The id after the last token: the start of a stationary stream."""
        return self.tokenizer.bos_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return self.tokenizer.encode(string, add_special_tokens=bool(add_special_tokens))

    def tok_decode(self, tokens: int | Iterable[int], skip_special_tokens: bool = True) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)

    def token_log_probs(self, sequences: Sequence[Sequence[int] | Tokens]) -> list[Array]:
        """log p(w_t | w_<t), nats, of every token of every sequence, each started afresh, without prefix token.

        Sequences of similar length are scored together; the shorter ones are padded at their end, which no
        earlier position can see.

        Raises:
            L2MError: a token id outside the vocabulary.
        """
        arrays = [np.asarray(sequence, dtype=np.int64).reshape(-1) for sequence in sequences]
        for array in arrays:
            if len(array) and not (array.min() >= 0 and array.max() < self.process.vocabulary_size):
                wrong = array.max() if array.min() >= 0 else array.min()
                raise L2MError(
                    f"token id: {wrong} is not accepted; give an integer from 0 to "
                    f"{self.process.vocabulary_size - 1}"
                )
        results: list[Array] = [np.empty(0)] * len(arrays)
        order = sorted(range(len(arrays)), key=lambda i: -len(arrays[i]))
        while order:
            longest = max(1, len(arrays[order[0]]))
            rows = max(1, _TOKENS_AT_ONCE // longest)
            # Rows of less than half the longest would be mostly padding.
            batch = [i for i in order[:rows] if 2 * len(arrays[i]) >= longest] or order[:1]
            order = order[len(batch) :]
            padded = np.zeros((len(batch), longest), dtype=np.int64)
            for row, i in enumerate(batch):
                padded[row, : len(arrays[i])] = arrays[i]
            for row, i in zip(self.process.log_probs(padded), batch, strict=True):
                results[i] = row[: len(arrays[i])].copy()
        return results

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, Sequence[int], Sequence[int]]],
        disable_tqdm: bool = False,
        **_: Any,
    ) -> list[tuple[float, bool]]:
        contexts = [self._without_prefix(context) for _, context, _ in requests]
        pairs = [[*context, *target] for context, (_, _, target) in zip(contexts, requests, strict=True)]
        answers = []
        for ids, context, log_probs in zip(pairs, contexts, self.token_log_probs(pairs), strict=True):
            start = len(context)
            answers.append(
                (float(log_probs[start:].sum()), self._is_greedy(np.asarray(ids, np.int64), start))
            )
        return answers

    def _without_prefix(self, context: Sequence[int]) -> Sequence[int]:
        return context[1:] if len(context) and context[0] == self.prefix_token_id else context

    def _is_greedy(self, ids: Tokens, start: int) -> bool:
        """Whether every token from `start` on is the most probable one; stops at the first that is not."""
        return all(
            int(np.argmax(self.process.next_token_log_probs(ids[:t]))) == ids[t]
            for t in range(start, len(ids))
        )

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[Any]:
        """A sum for a request of (text,), as lm-eval 0.4 asks; (sum, False) for ("", text), as 0.5 does."""
        answers: list[Any] = []
        for request in tqdm(requests, desc="Scoring", disable=disable_tqdm):
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[-1]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length - 1,
                context_len=1,
            )
            pieces = [make_disjoint_window(window) for window in windows]
            contexts = [self._without_prefix(context) for context, _ in pieces]
            scored = self.token_log_probs(
                [[*context, *target] for context, (_, target) in zip(contexts, pieces, strict=True)]
            )
            total = sum(
                float(log_probs[len(context) :].sum())
                for log_probs, context in zip(scored, contexts, strict=True)
            )
            answer = total if len(request.args) == 1 else (total, False)
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, answer)
            answers.append(answer)
        return answers

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Continuations: the most probable token each time, or samples at a temperature above 0.

        The i-th request of a call samples with the generator of (seed, i), so that a call can be repeated.
        """
        answers = []
        for number, request in enumerate(tqdm(requests, desc="Generating", disable=disable_tqdm)):
            context, given = request.args
            wishes = normalize_gen_kwargs(given)
            sampled = bool(wishes.get("do_sample"))
            temperature = float(wishes.get("temperature") or (1.0 if sampled else 0.0))
            text = self._continue(
                self.tok_encode(context),
                int(wishes["max_gen_toks"]),
                [stop for stop in wishes["until"] if stop],
                temperature if sampled else 0.0,
                np.random.default_rng([self.seed, number]),
            )
            self.cache_hook.add_partial("generate_until", request.args, text)
            answers.append(text)
        return answers

    def _continue(
        self,
        context: Sequence[int],
        longest: int,
        until: list[str],
        temperature: float,
        rng: np.random.Generator,
    ) -> str:
        ids = np.zeros(len(context) + longest, dtype=np.int64)
        prefix = self._without_prefix(context)
        size = len(prefix)
        ids[:size] = prefix
        text = ""
        for _ in range(longest):
            log_probs = self.process.next_token_log_probs(ids[:size])
            if temperature > 0:
                # Gumbel noise on log p / T is a draw from the tempered distribution.
                log_probs = log_probs / temperature + rng.gumbel(size=len(log_probs))
            ids[size] = int(np.argmax(log_probs))
            text += self.tok_decode([int(ids[size])])
            size += 1
            ends = [text.find(stop) for stop in until if stop in text]
            if ends:
                return text[: min(ends)]
        return text
