"""Conversations as token ids, and which of them are the answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from opencharacter import tokenization as conversations
from opencharacter.records.models import Turn


class Encoded(NamedTuple):
    """A conversation's token ids, and for each whether the model is to say it (answers, end-of-turn token included)."""

    ids: list[int]
    answer: list[bool]


def encode(tokenizer: Any, messages: Sequence[Turn]) -> Encoded:
    """Tokenize with the very mask that training has. Raises `UserError` as `conversations.encode` does."""
    ids, labels = conversations.encode(tokenizer, [turn.model_dump() for turn in messages])
    return Encoded(ids, [label != conversations.IGNORED for label in labels])
