"""From a chat conversation to token ids and labels: the loss is on the assistant's tokens only.

TRL's own assistant mask needs a chat template with `{% generation %}` marks, which it supplies for templates that it
knows by heart (not for SmolLM2's or Llama 3.1's). Here the mask comes from the model's *own* template, whichever it is:
what the template adds to a conversation's generation prompt when the answer is appended is what the model must learn
to say. Rows are refused where that is not well defined, so nothing is ever trained on by mistake.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from opencharacter.errors import UserError

IGNORED = -100
"""Label of a token that is not part of the loss (PyTorch's cross entropy)."""

Messages = Sequence[Mapping[str, str]]


class Encoded(NamedTuple):
    """A conversation as training and evaluation take it; `labels` holds `IGNORED` outside the answers."""

    input_ids: list[int]
    labels: list[int]


def encode(tokenizer: Any, messages: Messages) -> Encoded:
    """Tokenize a conversation as the tokenizer's chat template renders it, labelling the assistant's turns.

    Each answer is labelled from its first token to its end-of-turn token. A token that straddles the start of an
    answer belongs to the prompt. Raises `UserError` if the template can't render the conversation, or renders its
    beginning differently once it goes on.
    """
    text = _render(tokenizer, messages)
    spans = [
        _answer_span(tokenizer, messages, i, text) for i, turn in enumerate(messages) if turn["role"] == "assistant"
    ]
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    labels = [
        token if any(start <= first and last <= end for start, end in spans) else IGNORED
        for token, (first, last) in zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
    ]
    return Encoded(tokens["input_ids"], labels)


def _answer_span(tokenizer: Any, messages: Messages, index: int, text: str) -> tuple[int, int]:
    """Character range of an answer and its end-of-turn token in the rendered conversation."""
    prompt = _render(tokenizer, messages[:index], add_generation_prompt=True)
    answered = _render(tokenizer, messages[: index + 1])
    if not (text.startswith(answered) and answered.startswith(prompt)):
        raise UserError(
            f"the chat template renders message {index + 1} differently as the conversation goes on,"
            " so the answer cannot be separated from its prompt",
            hint="use a chat template that only ever appends (no removal of earlier thoughts)",
        )
    # What follows the end-of-turn token (ChatML: a line feed) is written by the server, not by the model.
    return len(prompt), len(answered.rstrip())


def _render(tokenizer: Any, messages: Messages, *, add_generation_prompt: bool = False) -> str:
    from jinja2 import TemplateError

    turns = [dict(turn) for turn in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt))
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise UserError(f"the chat template refuses a conversation of [{roles}]: {error}") from error
