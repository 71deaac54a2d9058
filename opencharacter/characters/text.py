"""The published text form of a profile, one attribute a line, the name first.

    Name: ...
    Age: ...
    Birth Place: ...
    General Experience: ...

A value may run over several lines. A line of a value that would read as a label is written with a backslash before
it, so that every profile survives writing and reading.
"""

import re

from pydantic import ValidationError

from opencharacter.characters.profile import ATTRIBUTES, CharacterProfile, Provenance
from opencharacter.errors import UserError
from opencharacter.texts import is_blank

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
_SYNONYMS = {
    "full name": "name",
    "sex": "gender",
    "ethnicity": "race",
    "race/ethnicity": "race",
    "birthplace": "birth_place",
    "place of birth": "birth_place",
    "physical appearance": "appearance",
    "experience": "experience",
    "life experience": "experience",
    "general life experience": "experience",
    "personality traits": "personality",
}
_ATTRIBUTE = {label.lower(): attribute for attribute, label in _LABELS.items()} | _SYNONYMS
_SHORT = frozenset({"name", "age", "gender", "race", "birth_place"})


def _label_pattern(label: str) -> re.Pattern[str]:
    """A line `Label: value`, also as a list item, heading or quotation and with the label in bold."""
    mark, bold = r"[ \t]*(?:(?:[-*•>]|\d{1,2}[.)]|#{1,6})[ \t]+)?", r"(?:\*\*|__)?"
    return re.compile(rf"{mark}{bold}(?P<label>{label})[ \t]*{bold}:{bold}(?P<value>.*)", re.IGNORECASE | re.ASCII)


_KNOWN = _label_pattern("|".join(re.escape(label).replace(r"\ ", "[ _]") for label in _ATTRIBUTE))
_ANY = _label_pattern(r"[a-z][a-z /()'&_-]{0,40}")
_SKIPPED = re.compile(r"\s*(?:#.*|-{3,}\s*|\*{3,}\s*)?")


def render_profile(profile: CharacterProfile) -> str:
    """The profile's attributes in the published text form; absent ones are left out, and so are persona and id."""
    values = {attribute: getattr(profile, attribute) for attribute in ATTRIBUTES}
    return "\n".join(
        f"{_LABELS[attribute]}: {_escape(value, attribute)}" for attribute, value in values.items() if value is not None
    )


def parse_profile(text: str, *, persona: str | None = None, provenance: Provenance | None = None) -> CharacterProfile:
    """Read the published text form; the inverse of `render_profile`.

    Tolerated: any case, bold labels, list items, usual synonyms of the labels, headings and blank lines before the
    name, attributes in any order. Nothing is dropped: a labelled line of an unknown kind (`Occupation: baker`) stays
    in the long attribute that it stands in, or goes to the end of the experience if it follows a short one. Raises
    `UserError` naming the attribute at fault.
    """
    values: dict[str, list[str]] = {}
    unknown: list[str] = []
    place: list[str] | None = None
    attribute = ""
    for line in text.split("\n"):
        known = _KNOWN.match(line)
        found = _ATTRIBUTE[known["label"].lower().replace("_", " ")] if known else ""
        if place is None and not (found == "name" or _SKIPPED.fullmatch(line)):
            raise UserError(f"not a character profile: expected a text that starts with 'Name:', found {line[:60]!r}")
        if known and found not in values:
            attribute, place = found, values.setdefault(found, [known["value"]])
        elif place is not None and attribute in _SHORT and _ANY.match(line):
            # Until the next known label this is text of another kind, which the experience takes in.
            attribute, place = "experience", unknown
            place.append(line)
        elif place is not None:
            place.append(_unescape(line, attribute))
    if unknown:
        values["experience"] = values.get("experience", []) + unknown
    texts = {name: "\n".join(lines) for name, lines in values.items()}
    kept = {name: value for name, value in texts.items() if not is_blank(value)}
    if "name" not in kept:
        raise UserError("not a character profile: the name is missing; expected a text that starts with 'Name:'")
    try:
        return CharacterProfile.model_validate({**kept, "persona": persona, "provenance": provenance})
    except ValidationError as error:
        problem = error.errors()[0]
        attribute = str(problem["loc"][0])
        raise UserError(f"{_LABELS.get(attribute, attribute)}: {problem['msg']}") from error


def _escape(value: str, attribute: str) -> str:
    first, *rest = value.split("\n")
    return "\n".join([first, *("\\" + line if _reads_as_label(line, attribute) else line for line in rest)])


def _unescape(line: str, attribute: str) -> str:
    return line[1:] if line.startswith("\\") and _reads_as_label(line, attribute) else line


def _reads_as_label(line: str, attribute: str) -> bool:
    """Whether a line of the attribute's value would be taken for a label, but for backslashes before it."""
    pattern = _ANY if attribute in _SHORT else _KNOWN
    return pattern.match(line.lstrip("\\")) is not None
