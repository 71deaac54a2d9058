"""The check of a chat template before training.

A template can be trained on if its answers can be separated from the rest and end in one special token.
"""

from typing import Any

from opencharacter.errors import UserError
from opencharacter.tokenization import IGNORED, encode

_PROBE = [
    {"role": "system", "content": "Name: Probe"},
    {"role": "user", "content": "first question"},
    {"role": "assistant", "content": "first answer"},
    {"role": "user", "content": "second question"},
    {"role": "assistant", "content": "second answer"},
]


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
        f" or can't be separated from the rest; it renders {tokenizer.decode(ids)!r}",
        hint="give the base model a chat template whose assistant turns end in a special end-of-turn token",
    )


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
