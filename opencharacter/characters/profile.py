"""The character profile: eight attributes imagined from a persona (paper, section 3.1)."""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    computed_field,
    model_validator,
)

from opencharacter import html
from opencharacter.hashing import digest
from opencharacter.texts import text_fault


def _number_to_text(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _can_be_seen(text: str) -> str:
    if fault := text_fault(text):
        raise ValueError(f"the text {fault}")
    return text


_Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(_can_be_seen)
]
_Prose = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000), AfterValidator(_can_be_seen)
]

ATTRIBUTES = ("name", "age", "gender", "race", "birth_place", "appearance", "experience", "personality")
"""The eight attributes, in the order in which the profile text lists them."""


class Provenance(BaseModel):
    """Where a profile came from; never part of a prompt or of the profile's id."""

    model_config = ConfigDict(extra="allow")

    source: str
    licence: str
    persona_id: str | None = None
    model: str | None = None
    prompt_hash: str | None = None


class CharacterProfile(BaseModel):
    """A character: a name or a persona is required. Users send partial profiles; synthesis makes all attributes."""

    model_config = ConfigDict(extra="forbid")

    name: _Line | None = None
    age: Annotated[_Line | None, BeforeValidator(_number_to_text)] = None
    gender: _Line | None = None
    race: _Line | None = None
    birth_place: _Line | None = None
    appearance: _Prose | None = None
    experience: _Prose | None = Field(default=None, description="general (life) experience")
    personality: _Prose | None = None
    persona: _Prose | None = Field(default=None, description="the one-line persona that the profile was made from")
    provenance: Provenance | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_id_and_blanks(cls, data: Any) -> Any:
        """The id is computed, and forms send a field that nobody filled in as an empty text."""
        if not isinstance(data, dict):
            return data
        return {
            key: value
            for key, value in data.items()
            if key != "id" and not (isinstance(value, str) and not value.strip())
        }

    @model_validator(mode="after")
    def _describes_somebody(self) -> "CharacterProfile":
        if self.name is None and self.persona is None:
            raise ValueError("needs a name or a persona")
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def id(self) -> str:
        """Stable id: content address of attributes and persona (16 hex digits)."""
        return digest(self.model_dump(include={*ATTRIBUTES, "persona"}))[:16]

    @property
    def label(self) -> str:
        """The name, or what to call a character without one."""
        return self.name or "the character"

    @property
    def missing(self) -> list[str]:
        """The attributes that have no value."""
        return [name for name in ATTRIBUTES if getattr(self, name) is None]

    def _repr_html_(self) -> str:
        """How a notebook shows the character."""
        values = {name: getattr(self, name) for name in (*ATTRIBUTES[1:], "persona")}
        pairs = ((name.replace("_", " "), text) for name, text in values.items() if text is not None)
        return html.card(self.label, html.fields(pairs), subtitle=self.id)
