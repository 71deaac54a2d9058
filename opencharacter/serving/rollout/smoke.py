"""The smoke question: one character, one question, and what its answer must be like."""

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencharacter.errors import UserError

SMOKE_TAG = "smoke_question"
"""Tag of a registered model version with a `SmokeQuestion` as JSON: a character that training has not seen."""

_MAX_TOKENS = 512
"""Long enough for an answer in character; a model that has not ended by then does not know when to."""

_CHARACTERS_PER_TOKEN = 3
"""At the least, in the languages that profiles are written in."""

_MARKS = re.compile(
    r"<\|[\w ]{2,40}\|>"  # Llama 3's, ChatML's, Phi's
    r"|</?s>|\[/?INST\]|<</?SYS>>"  # Llama 2's, Mistral's
    r"|<(start|end)_of_turn>|<(bos|eos|pad|unk)>"  # Gemma's
    r"|\{%-? "  # a template that was not rendered
    r"|\A\s*(system|user|assistant)\s*\n"  # what is left of a header without its marks
)
_SHOWN = 160


class SmokeQuestion(BaseModel):
    """What a new version is asked before it serves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    character: dict[str, Any] = Field(min_length=1, description="as the endpoint's field `character` takes it")
    question: str = Field(min_length=1)

    @classmethod
    def from_tag(cls, text: str) -> "SmokeQuestion":
        """The question that a tag holds. Raises `UserError`."""
        try:
            return cls.model_validate(json.loads(text))
        except (ValueError, ValidationError) as error:
            raise UserError(
                f"tag {SMOKE_TAG}: {error}", hint='expected {"character": {...}, "question": "..."} as JSON'
            ) from error

    def fitting(self, context: int | None) -> "SmokeQuestion":
        """This question, or the built-in one where a server of so small a context could not take it."""
        size = len(json.dumps(self.character, ensure_ascii=False)) + len(self.question)
        room = context is None or size / _CHARACTERS_PER_TOKEN + max_tokens(context) <= context
        return self if room else BUILT_IN

    def request(self, model: str, seed: int, context: int | None) -> dict[str, Any]:
        """The chat request, for a server of that context length. Special tokens stay in its answer, to be seen."""
        return {
            "model": model,
            "character": self.character,
            "messages": [{"role": "user", "content": self.question}],
            "max_tokens": max_tokens(context),
            "temperature": 0.7,
            "seed": seed,
            "skip_special_tokens": False,
        }


def max_tokens(context: int | None) -> int:
    """The longest answer that is asked for."""
    return _MAX_TOKENS if context is None else min(_MAX_TOKENS, context // 4)


BUILT_IN = SmokeQuestion(
    character={
        "name": "Odalys Quint",
        "age": "47",
        "birth_place": "a houseboat on the river Sorne",
        "experience": "Odalys repairs tower clocks. She has climbed every bell tower between the river and the sea.",
        "personality": "Patient and dry; she counts the seconds of a silence aloud.",
    },
    question="Who are you, and what did you repair last? Answer in two sentences.",
)
"""For models without a question of their own: a character that no data set holds."""


def fault_of(answer: Any) -> str | None:
    """What is wrong with a chat completion; none if nothing is."""
    try:
        choice = answer["choices"][0]
        text, end = choice["message"]["content"], choice["finish_reason"]
    except (KeyError, IndexError, TypeError):
        return f"the endpoint's answer is no chat completion: {_shown(answer)}"
    if not isinstance(text, str) or not text.strip():
        return "the answer is empty"
    if mark := _MARKS.search(text):
        return f"the answer holds a mark of the chat template, '{mark.group().strip()}': {_shown(text)}"
    return None if end == "stop" else f"the answer {cut(answer)}: {_shown(text)}"


def cut(answer: Any) -> str | None:
    """How an answer was cut; none if it ended by itself, or is no answer. Another seed may end."""
    try:
        end = answer["choices"][0]["finish_reason"]
    except (KeyError, IndexError, TypeError):
        return None
    if end == "stop":
        return None
    return "was cut, since the model had not ended it" if end == "length" else f"ended for the reason '{end}'"


def _shown(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
