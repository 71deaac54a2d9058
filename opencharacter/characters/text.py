"""The published text form of a profile: lines of `Label: value` that start with `Name:`.

It is what the paper's data hold and what prompts show. Reading is tolerant of case, bold labels, bullets and a few
other names of the labels; a line with an unknown label belongs to the attribute above it, so that nothing is lost.
"""

import re

from pydantic import ValidationError

from opencharacter.characters.profile import ATTRIBUTES, CharacterProfile, Provenance
from opencharacter.errors import UserError

_LABELS = {
    "name": "Name",
    "age": "Age",
    "gender": "Gender",
    "race": "Race",
    "birth_place": "Birth Place",
    "appearance": "Appearance",
    "experience": "General Experience",
    "personality": "Personality",
}
_OTHER_LABELS = {
    "full name": "name",
    "birthplace": "birth_place",
    "place of birth": "birth_place",
    "experience": "experience",
    "life experience": "experience",
}
_ATTRIBUTE_OF = {label.lower(): attribute for attribute, label in _LABELS.items()} | _OTHER_LABELS
_LABEL_LINE = re.compile(
    r"(?P<escape>\\*)[ \t>#*•-]*(?P<label>" + "|".join(map(re.escape, _ATTRIBUTE_OF)) + r")[ \t]*\**[ \t]*:\**[ \t]?",
    re.IGNORECASE,
)


def render_profile(profile: CharacterProfile) -> str:
    """The profile as text: one `Label: value` for each attribute that it has, in the published order.

    A further line of a value that would read as a label is escaped with a backslash, so that `parse_profile` gives
    back the same profile. The persona is not part of the text.
    """
    parts = []
    for attribute in ATTRIBUTES:
        value = getattr(profile, attribute)
        if value is not None:
            first, *further = value.split("\n")
            lines = [f"{_LABELS[attribute]}: {first}", *(_escape(line) for line in further)]
            parts.append("\n".join(lines))
    return "\n".join(parts)


def parse_profile(
    text: str, *, persona: str | None = None, provenance: Provenance | None = None
) -> CharacterProfile:
    """Read the text form. Raises `UserError` if it does not start with a name or a value is not acceptable."""
    values: dict[str, str] = {}
    current: str | None = None
    for line in text.lstrip().split("\n"):
        found = _LABEL_LINE.match(line)
        if found and not found["escape"]:
            attribute = _ATTRIBUTE_OF[found["label"].lower()]
            if attribute not in values:
                current = attribute
                values[attribute] = line[found.end() :]
                continue
        if current is None:
            raise UserError(
                f"profile text starts with {line[:40]!r}; expected a line 'Name: …'",
                hint="give the eight attributes as lines: " + ", ".join(f"{label}:" for label in _LABELS.values()),
            )
        values[current] += "\n" + (line[1:] if found and found["escape"] else line)
    if "name" not in values:
        raise UserError("profile text has no line 'Name: …'")
    try:
        return CharacterProfile.model_validate(
            {key: value for key, value in values.items() if value.strip()}
            | {"persona": persona, "provenance": provenance}
        )
    except ValidationError as error:
        raise UserError(f"profile text: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """What is wrong with a profile, one clause for each field."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'profile'}: {problem['msg']}" for problem in error.errors()
    )


def _escape(line: str) -> str:
    return "\\" + line if _LABEL_LINE.match(line) else line
