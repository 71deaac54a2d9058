"""A character's system prompt, shared by generation, training, evaluation and serving (docs/design.md, decision 6)."""

from typing import Literal

from opencharacter.characters.profile import CharacterProfile
from opencharacter.characters.text import render_profile
from opencharacter.templates import Template, load_template

PromptView = Literal["persona_and_profile", "profile", "persona"]
"""What of a character the prompt holds besides the name."""

TEMPLATE_NAME = "system.md"


def system_prompt(
    profile: CharacterProfile, view: PromptView = "persona_and_profile", template: Template | None = None
) -> str:
    """Render the system prompt; without `template`, with the packaged `prompts/system.md`.

    Persona and profile are data: a macro inside them stays as it is. The view `persona` of a character that has none
    shows the profile, because a name alone does not describe a character. Raises `UserError` if
    the template uses an unknown macro.
    """
    persona = profile.persona or ""
    return (template or load_template(TEMPLATE_NAME)).render_paragraphs(
        name=profile.name,
        persona="" if view == "profile" else persona,
        profile="" if view == "persona" and persona else render_profile(profile),
    )
