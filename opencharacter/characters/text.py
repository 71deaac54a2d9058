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


_MARK = re.compile(r"(?:[-*•>]|[0-9]{1,2}[.)]|#{1,6})(?=[ \t])")
_BOLD = ("**", "__")
_ANY_LABEL = re.compile(r"[a-z][a-z /()'&_-]*", re.IGNORECASE | re.ASCII)
_MAX_LABEL = 41


def _read_label(line: str) -> tuple[str, str] | None:
    """Label and value of a line `Label: value`, also as a list item, heading or quotation and with the label in bold.

    Each step goes over the line once, and the patterns see a label's length of it: any text is read in linear time.
    """
    head, colon, value = line.partition(":")
    if not colon:
        return None
    head = head.lstrip(" \t")
    if mark := _MARK.match(head):
        head = head[mark.end() :].lstrip(" \t")
    if head.startswith(_BOLD):
        head = head[2:]
    if head.endswith(_BOLD):
        head = head[:-2]
    label = head.rstrip(" \t")
    if len(label) > _MAX_LABEL or not _ANY_LABEL.fullmatch(label):
        return None
    return label, value[2:] if value.startswith(_BOLD) else value


def _attribute_of(label: str) -> str | None:
    return _ATTRIBUTE.get(label.lower().replace("_", " "))


def _is_skipped(line: str) -> bool:
    """Whether a line before the name says nothing: it is blank, a heading or a rule."""
    text = line.strip()
    return text.startswith("#") or not text or (text[:3] in ("---", "***") and not text.strip(text[0]))


def render_profile(profile: CharacterProfile) -> str:
    """The profile's attributes in the published text form; absent ones are left out, and so are persona and id."""
    values = {attribute: getattr(profile, attribute) for attribute in ATTRIBUTES}
    return "\n".join(
        f"{_LABELS[attribute]}: {_escape(value, attribute)}" for attribute, value in values.items() if value is not None
    )


def is_profile_text(text: str) -> bool:
    """Whether `parse_profile` would take the text for a profile: its first line of content is the name's."""
    first = next((line for line in text.split("\n") if not _is_skipped(line)), "")
    labelled = _read_label(first)
    return labelled is not None and _attribute_of(labelled[0]) == "name"


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
        labelled = _read_label(line)
        found = _attribute_of(labelled[0]) if labelled else None
        if place is None and found != "name" and not _is_skipped(line):
            raise UserError(f"not a character profile: expected a text that starts with 'Name:', found {line[:60]!r}")
        if labelled and found and found not in values:
            attribute, place = found, values.setdefault(found, [labelled[1]])
        elif place is not None and attribute in _SHORT and labelled:
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
    labelled = _read_label(line.lstrip("\\"))
    return labelled is not None and (attribute in _SHORT or _attribute_of(labelled[0]) is not None)
