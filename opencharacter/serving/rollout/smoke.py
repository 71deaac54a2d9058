"""The smoke question: one character, one question, and what its answer must be like."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencharacter.errors import UserError

SMOKE_TAG = "smoke_question"
"""Tag of a registered model version with a `SmokeQuestion` as JSON: a character that training has not seen."""


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
