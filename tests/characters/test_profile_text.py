import contextlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opencharacter.characters import ATTRIBUTES, CharacterProfile, parse_profile, render_profile
from opencharacter.characters import text as text_module
from opencharacter.errors import UserError
from opencharacter.texts import text_fault

PUBLISHED = """Name: Ilse Marten
Age: 58
Gender: Female
Race: White
Birth Place: Husum, Germany
Appearance: Weathered, in a yellow coat.
General Experience: Ran the ferry for thirty years.

She still keeps its log.
Personality: Dry, exact."""

# Lines that are labels, look like labels, or are built from the characters that the form gives a meaning to.
_label_like = st.sampled_from(
    ["Name: x", "**Age:** 3", "- Race: x", "Birth_Place:", "\\Name: x", "\\\\age: 1", "Hobbies: chess", "\\Hobbies:",
     "# Personality: x", "2. Gender : x", "General Experience:", "", " ", "\\", ":", "{{name}}"]
)  # fmt: skip
_text = st.lists(_label_like | st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=5).map(
    "\n".join
)
_value = _text.filter(lambda text: text_fault(text) is None)  # such values are refused by the model itself
_profiles = st.builds(
    CharacterProfile,
    name=_value,
    persona=st.none() | _value,
    **{attribute: st.none() | _value for attribute in ATTRIBUTES if attribute != "name"},
)


@given(_profiles)
@example(CharacterProfile(name="\x1cI", age="\x1f\nName: other"))
def test_every_profile_is_read_back_as_it_was(profile: CharacterProfile) -> None:
    assert parse_profile(render_profile(profile), persona=profile.persona) == profile


@pytest.mark.parametrize("text", ["\u200b", "\u2800 \u3164", "\ufeff\u00ad\u2060", "\u202e\ufe0f", "\x00"], ids=ascii)
def test_an_attribute_that_nobody_sees_has_no_value(text: str) -> None:
    assert parse_profile(f"Name: Ilse\nAge: {text}") == CharacterProfile(name="Ilse")
    with pytest.raises(UserError, match="the name is missing"):
        parse_profile(f"Name: {text}")
    with pytest.raises(ValueError, match="the text is empty"):
        CharacterProfile(name=text)
    with pytest.raises(UserError, match=r"Name: .*the text holds a NUL character"):
        parse_profile("Name: Il\0se")


def test_the_published_form_is_read_and_written() -> None:
    profile = parse_profile(PUBLISHED, persona="A retired ferrywoman.")
    assert profile.model_dump(include=set(ATTRIBUTES)) == {
        "name": "Ilse Marten",
        "age": "58",
        "gender": "Female",
        "race": "White",
        "birth_place": "Husum, Germany",
        "appearance": "Weathered, in a yellow coat.",
        "experience": "Ran the ferry for thirty years.\n\nShe still keeps its log.",
        "personality": "Dry, exact.",
    }
    assert profile.persona == "A retired ferrywoman."
    assert render_profile(profile) == PUBLISHED


@pytest.mark.parametrize(
    "text",
    [
        "**Name:** Ilse\n**Birth Place:** Husum",
        "**Name**: Ilse\n**Birthplace**: Husum",
        "# Character profile\n\n- Name: Ilse\n- Place of Birth: Husum",
        "NAME: Ilse\r\nbirth_place: Husum\r\n",
        "\n---\n1. Name: Ilse\n2. Birth Place:\nHusum\nAge:",
        "### Name: Ilse\n### Birth place: Husum",
    ],
)
def test_variants_that_models_write_are_tolerated(text: str) -> None:
    assert parse_profile(text) == CharacterProfile(name="Ilse", birth_place="Husum")


def test_text_under_unknown_labels_is_kept() -> None:
    profile = parse_profile(
        "Name: Ilse\nOccupation: Ferrywoman\nsince 1984\nAge: 58\n"
        "Personality: Dry\nQuirk: hums\nGeneral Experience: Sea."
    )
    assert profile.experience == "Sea.\nOccupation: Ferrywoman\nsince 1984"
    assert profile.personality == "Dry\nQuirk: hums"
    assert (profile.name, profile.age) == ("Ilse", "58")


def test_a_label_that_comes_twice_is_text_the_second_time() -> None:
    profile = parse_profile("Name: Ilse\nPersonality: Dry\nPersonality: of the coast\nName: none")
    assert (profile.name, profile.personality) == ("Ilse", "Dry\nPersonality: of the coast\nName: none")


@pytest.mark.parametrize("text", ["", "Once upon a time\nName: Ilse", "Age: 3\nName: Ilse", "Name:\nAge: 3", "{}"])
def test_text_that_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="starts with 'Name:'"):
        parse_profile(text)


HOSTILE_LINES = {
    "spaces after a word": "a" + " " * 1_000_000,
    "spaces before a label": " " * 1_000_000 + "Name",
    "marks": "- " * 500_000,
    "letters without a colon": "a" * 1_000_000,
    "a label of a megabyte": "a" * 1_000_000 + ": x",
    "bold": "*" * 1_000_000 + ":",
    "backslashes": "\\" * 1_000_000 + "Age: 3",
}


@pytest.mark.parametrize("line", HOSTILE_LINES.values(), ids=HOSTILE_LINES)
def test_patterns_see_no_more_of_a_line_than_a_label(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    class Counting:
        def __init__(self, pattern: re.Pattern[str]) -> None:
            self._pattern = pattern

        def fullmatch(self, string: str) -> re.Match[str] | None:
            nonlocal read
            read += len(string)
            return self._pattern.fullmatch(string)

    monkeypatch.setattr(text_module, "_ANY_LABEL", Counting(text_module._ANY_LABEL))
    with contextlib.suppress(UserError):
        parse_profile(f"Name: Ilse\nAge: 3\n{line}\n{line}")
    assert read < 200
    with pytest.raises(UserError):
        parse_profile(line)


def test_a_number_is_read_as_the_text_of_it_and_an_empty_field_as_left_out() -> None:
    loose = {"name": "Ilse", "age": 36.5, "gender": "", "race": None, "birth_place": " "}
    assert CharacterProfile.model_validate(loose) == CharacterProfile(name="Ilse", age="36.5")
    assert CharacterProfile.model_validate({"name": "Ilse", "age": 58.0}).age == "58"


def test_a_value_beyond_the_models_limits_is_refused_by_its_label() -> None:
    with pytest.raises(UserError, match=r"Birth Place: .*500"):
        parse_profile("Name: Ilse\nBirth Place: " + "x" * 501)
