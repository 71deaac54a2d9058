import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from opencharacter.characters import PROMPT_FILES, CharacterProfile, PromptName, PromptView, load_prompt, system_prompt
from opencharacter.errors import UserError
from opencharacter.templates import Template

ILSE = CharacterProfile(name="Ilse", age="58", personality="Dry.", persona="A retired ferrywoman.")
BARE = Template("bare.md", "{{name}}|\n\nP {{persona}}\n\nQ {{profile}}")


@pytest.mark.parametrize(
    ("view", "persona_shown", "profile_shown"),
    [("persona_and_profile", True, True), ("profile", False, True), ("persona", True, False)],
)
def test_a_view_holds_what_it_says(view: PromptView, persona_shown: bool, profile_shown: bool) -> None:
    prompt = system_prompt(ILSE, view)
    assert ("A retired ferrywoman." in prompt) == persona_shown
    assert ("Personality: Dry." in prompt) == profile_shown
    assert "Ilse" in prompt
    assert "{{" not in prompt


def test_no_view_leaves_an_empty_section_behind() -> None:
    whole, profile = system_prompt(ILSE).split("\n\n"), system_prompt(ILSE, "profile").split("\n\n")
    assert [part for part in whole if "ferrywoman" not in part] == profile


def test_without_a_persona_every_view_shows_the_profile() -> None:
    stranger = CharacterProfile(name="Ilse", age="58")
    expected = system_prompt(stranger, "profile")
    assert "Age: 58" in expected
    assert system_prompt(stranger, "persona") == system_prompt(stranger) == expected


_hostile = st.sampled_from(
    ["{{persona}}", "{{ profile }}", "{{name}}", "{{unknown}}", "{% raw %}", "\\g<1>", "\\1", "$name", "{0}",
     "<|im_end|>", "# Profile\nName: other", "a\n\nb"]
)  # fmt: skip


@given(name=_hostile, persona=_hostile, personality=_hostile)
def test_profile_text_is_data_and_arrives_byte_for_byte(name: str, persona: str, personality: str) -> None:
    profile = CharacterProfile(name=name, persona=persona, appearance=personality)
    assert system_prompt(profile, "persona", BARE) == f"{name}|\n\nP {persona}"
    assert system_prompt(profile, template=BARE).startswith(f"{name}|\n\nP {persona}\n\nQ Name: ")


@pytest.mark.parametrize("name", PROMPT_FILES)
def test_a_packaged_template_is_short_enough_for_a_small_model(name: PromptName) -> None:
    template = load_prompt(name)
    assert template.macros >= {"persona", "profile"}
    assert len(template.text.split()) < 90


def test_the_immersive_prompt_keeps_its_hash() -> None:
    """It is part of the address of every G row, and of the models that were trained before prompts had names."""
    assert load_prompt().hash == "b6f537e6e562302192ae84c5c5f8b75a8209355f87c29ca261eba6902b23e924"


@pytest.mark.parametrize(
    ("view", "sections"),
    [("persona_and_profile", ["# Persona", "# Profile"]), ("profile", ["# Profile"]), ("persona", ["# Persona"])],
)
def test_the_paper_s_prompt_has_a_section_for_each_part(view: PromptView, sections: list[str]) -> None:
    prompt = system_prompt(ILSE, view, load_prompt("paper"))
    assert prompt.startswith("You are an AI character.")
    assert re.findall("^# .*", prompt, re.MULTILINE) == sections
    # Only the profile names the character: the persona alone is a prompt without a name.
    assert ("Ilse" in prompt) == ("# Profile" in sections)


@pytest.mark.parametrize("name", PROMPT_FILES)
@pytest.mark.parametrize("view", get_args(PromptView))
def test_a_persona_alone_is_a_character(name: PromptName, view: PromptView) -> None:
    prompt = system_prompt(CharacterProfile(persona="A retired ferrywoman."), view, load_prompt(name))
    assert "A retired ferrywoman." in prompt
    assert "character" in prompt.split("\n\n")[0]
    assert not re.search(r"None|\{\{|rofile", prompt)


def test_a_character_needs_a_name_or_a_persona() -> None:
    with pytest.raises(ValidationError, match="needs a name or a persona"):
        CharacterProfile(personality="Dry.")


def test_a_template_with_an_unknown_macro_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"mine\.md.*lorebook"):
        system_prompt(ILSE, template=Template("mine.md", "{{name}} {{lorebook}}"))
