"""From a chat conversation to token ids and labels: the loss is on the assistant's tokens only.

TRL's own assistant mask needs a chat template with `{% generation %}` marks, which it supplies for templates that it
knows by heart (not for SmolLM2's or Llama 3.1's). Here the mask comes from the model's *own* template, whichever it is:
what the template adds to a conversation's generation prompt when the answer is appended is what the model must learn
to say. Rows are refused where that is not well defined, so nothing is ever trained on by mistake.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
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
    text = render_chat(tokenizer, messages)
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
    prompt = render_chat(tokenizer, messages[:index], add_generation_prompt=True)
    answered = render_chat(tokenizer, messages[: index + 1])
    if not (text.startswith(answered) and answered.startswith(prompt)):
        raise UserError(
            f"the chat template renders message {index + 1} differently as the conversation goes on,"
            " so the answer cannot be separated from its prompt",
            hint="use a chat template that only ever appends (no removal of earlier thoughts)",
        )
    # What follows the end-of-turn token (ChatML: a line feed) is written by the server, not by the model.
    return len(prompt), len(answered.rstrip())


def render_chat(tokenizer: Any, messages: Messages, *, add_generation_prompt: bool = False) -> str:
    """A conversation as the tokenizer's chat template writes it. Raises `UserError` if the template refuses it."""
    from jinja2 import TemplateError

    turns = [dict(turn) for turn in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt))
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise UserError(f"the chat template refuses a conversation of [{roles}]: {error}") from error


class TurnMarks:
    """Finds conversations in which a text holds marks of the chat template: it would end its turn, or forge another.

    The marks are the tokenizer's special tokens, and what else the template writes around each turn (`[/INST]`).
    """

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is a fast one with a chat template."""
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        written = set(self._ids(_filled(("user", "assistant", "user", "assistant"))))
        self._special = {number for number, token in added.items() if token.special or number in written}
        # A letter that the vocabulary lacks is no mark. (SmolLM2 writes its end-of-text token for one, which is.)
        if "unk" in str(tokenizer.unk_token).lower():
            self._special.discard(tokenizer.unk_token_id)
        self._texts = _written_marks(tokenizer, [str(added[number]) for number in self._special])
        self._expected: dict[tuple[str, ...], list[int]] = {}

    def are_forged(self, messages: Messages, input_ids: Iterable[int]) -> bool:
        """Whether the special tokens of `messages`, in this order, are not those that the template writes for it."""
        roles = tuple(message["role"] for message in messages)
        if roles not in self._expected:
            self._expected[roles] = self._marks(self._ids(_filled(roles)))
        if self._marks(input_ids) != self._expected[roles]:
            return True
        return any(mark in message["content"] for mark in self._texts for message in messages)

    def _marks(self, input_ids: Iterable[int]) -> list[int]:
        return [number for number in input_ids if number in self._special]

    def _ids(self, messages: Messages) -> list[int]:
        ids: list[int] = self.tokenizer(render_chat(self.tokenizer, messages), add_special_tokens=False)["input_ids"]
        return ids


_FILLER = "lorem"
_BRACKETED = re.compile(r"[<\[]{1,2}[|/]{0,2}\w+\|?[>\]]{1,2}")


def _filled(roles: Sequence[str]) -> Messages:
    return [{"role": role, "content": _FILLER} for role in roles]


def _written_marks(tokenizer: Any, special: Sequence[str]) -> tuple[str, ...]:
    """What a template writes between turns as plain text, and a text could hold as well: `[/INST]`, `### Response:`.

    Words alone, such as the role after a special token, are none.
    """
    marks: set[str] = set()
    for roles in (("user", "assistant", "user", "assistant"), ("system", "user", "assistant")):
        try:
            opening, *between = render_chat(tokenizer, _filled(roles)).split(_FILLER)
        except UserError:
            continue  # it knows no system role
        for token in special:
            opening, between = opening.replace(token, "\n"), [text.replace(token, "\n") for text in between]
        for text in (opening, *between):
            marks.update(_BRACKETED.findall(text))
        lines = {line.strip() for text in between for line in text.splitlines()}
        marks.update(
            line for line in lines if len(line) <= 40 and re.search(r"[A-Za-z]{2}.*[^\w\s]|[^\w\s].*[A-Za-z]{2}", line)
        )
    return tuple(sorted(marks))
