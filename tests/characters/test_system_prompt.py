import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.characters import CharacterProfile, PromptView, system_prompt
from opencharacter.errors import UserError
from opencharacter.templates import Template, load_template

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


def test_the_packaged_template_is_short_enough_for_a_small_model() -> None:
    template = load_template("system.md")
    assert template.macros == {"name", "persona", "profile"}
    assert len(template.text.split()) < 90


def test_a_template_with_an_unknown_macro_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"mine\.md.*lorebook"):
        system_prompt(ILSE, template=Template("mine.md", "{{name}} {{lorebook}}"))
