"""What a measurement does with lengths that exceed the model's context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from l2m_eval.errors import L2MError

if TYPE_CHECKING:
    from l2m_eval.scoring.encoder import Encoder


def over_the_context(setting: str, length: int, longest: int) -> L2MError:
    """The error for a given length that does not fit."""
    return L2MError(
        f"{setting}: {length} is over the model's context: {longest} tokens fit behind the prefix token; give "
        f"{'a shorter length' if setting == 'length' else 'shorter lengths'}, or a larger max_length in --model_args"
    )


def length_that_fits(encoder: Encoder, length: int, *, asked: bool) -> int:
    """The first tokens of each document that are measured: all of `length`, or as many as fit.

    Raises:
        L2MError: the length was asked for, and does not fit.
    """
    if length <= encoder.longest:
        return length
    if asked:
        raise over_the_context("length", length, encoder.longest)
    encoder.note(f"the first {encoder.longest} tokens fit the model's context and are measured, not {length}")
    return encoder.longest


def lengths_that_fit(encoder: Encoder, lengths: Sequence[int], *, asked: bool) -> tuple[int, ...]:
    """The lengths that fit the model: all of them, or as many as fit of those that were not asked for.

    Args:
        encoder: Of the model.
        lengths: Total lengths in tokens, increasing.
        asked: Whether the user gave them.

    Raises:
        L2MError: a length that was asked for does not fit, or none of the default ones does.
    """
    fitting = tuple(length for length in lengths if length <= encoder.longest)
    if len(fitting) < len(lengths):
        if asked or not fitting:
            raise over_the_context("lengths", lengths[-1], encoder.longest)
        encoder.note(f"lengths up to {fitting[-1]} fit the model's context and are measured, longer ones not")
    return fitting
