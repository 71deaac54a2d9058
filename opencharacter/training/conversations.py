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

_PROBE = [
    {"role": "system", "content": "Name: Probe"},
    {"role": "user", "content": "first question"},
    {"role": "assistant", "content": "first answer"},
    {"role": "user", "content": "second question"},
    {"role": "assistant", "content": "second answer"},
]

Messages = Sequence[Mapping[str, str]]


class Encoded(NamedTuple):
    """A conversation as the trainer takes it. `labels` holds the token id, or `IGNORED` outside the answers."""

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


def end_of_turn(tokenizer: Any) -> int:
    """The id of the token that ends an assistant turn in the tokenizer's chat template.

    Raises `UserError` if the template or tokenizer can't be trained with: no template, no offsets, answers that don't
    end in a special token, or labels that don't cover the answers exactly.
    """
    if not tokenizer.chat_template:
        raise UserError("the base model's tokenizer has no chat template")
    if not tokenizer.is_fast:
        raise UserError(
            f"{type(tokenizer).__name__} gives no token offsets, which the response mask needs",
            hint="use a base model with a fast tokenizer (tokenizer.json)",
        )
    ids, labels = encode(tokenizer, _PROBE)
    answers = [turn["content"] for turn in _PROBE if turn["role"] == "assistant"]
    learned = _runs(labels)
    for answer, run in zip(answers, learned, strict=False):
        ends_specially = run[-1] in tokenizer.added_tokens_decoder
        if not ends_specially or tokenizer.decode(run[:-1], clean_up_tokenization_spaces=False).strip() != answer:
            break
    else:
        if len(learned) == len(answers) and len({run[-1] for run in learned}) == 1:
            return learned[0][-1]
    raise UserError(
        "the base model's chat template can't be trained on responses only: its answers don't end in one special token,"
        f" or can't be told from the rest; it renders {tokenizer.decode(ids)!r}",
        hint="give the base model a chat template whose assistant turns end in a special end-of-turn token",
    )


def _answer_span(tokenizer: Any, messages: Messages, index: int, text: str) -> tuple[int, int]:
    """Character range of an answer and its end-of-turn token in the rendered conversation."""
    prompt = _render(tokenizer, messages[:index], add_generation_prompt=True)
    answered = _render(tokenizer, messages[: index + 1])
    if not (text.startswith(answered) and answered.startswith(prompt)):
        raise UserError(
            f"the base model's chat template renders message {index + 1} differently as the conversation goes on,"
            " so the answer can't be told from its prompt",
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
        raise UserError(f"the base model's chat template refuses a conversation of [{roles}]: {error}") from error


def _runs(labels: list[int]) -> list[list[int]]:
    """The stretches of labelled tokens."""
    runs: list[list[int]] = []
    previous = IGNORED
    for label in labels:
        if label != IGNORED:
            if previous == IGNORED:
                runs.append([])
            runs[-1].append(label)
        previous = label
    return runs
