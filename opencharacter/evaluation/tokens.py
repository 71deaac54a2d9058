"""Conversations as token ids, and which of them are the answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from opencharacter.errors import UserError
from opencharacter.records.models import Turn


class Encoded(NamedTuple):
    """A conversation's token ids, and for each whether the model is to say it (answers, end-of-turn token included)."""

    ids: list[int]
    answer: list[bool]


def encode(tokenizer: Any, messages: Sequence[Turn]) -> Encoded:
    """Tokenize a conversation as the tokenizer's own chat template renders it.

    An answer is what the template adds to its generation prompt. Raises `UserError` if the template renders the
    beginning of a conversation differently once it goes on, so that this is not defined.
    """
    text = _render(tokenizer, messages)
    spans = [_span(tokenizer, messages, place, text) for place, turn in enumerate(messages) if turn.role == "assistant"]
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    answer = [any(start <= first and last <= end for start, end in spans) for first, last in tokens["offset_mapping"]]
    return Encoded(tokens["input_ids"], answer)


def _span(tokenizer: Any, messages: Sequence[Turn], place: int, text: str) -> tuple[int, int]:
    prompt = _render(tokenizer, messages[:place], add_generation_prompt=True)
    answered = _render(tokenizer, messages[: place + 1])
    if not (text.startswith(answered) and answered.startswith(prompt)):
        raise UserError(
            f"the chat template renders message {place + 1} differently as the conversation goes on",
            hint="use a model whose chat template only ever appends",
        )
    # The line feed that ChatML puts after the end-of-turn token is written by the server, not by the model.
    return len(prompt), len(answered.rstrip())


def _render(tokenizer: Any, messages: Sequence[Turn], *, add_generation_prompt: bool = False) -> str:
    turns = [turn.model_dump() for turn in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt))
