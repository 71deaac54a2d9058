"""A character's system prompt, shared by generation, training, evaluation and serving (docs/design.md, decision 6)."""

from collections.abc import Iterable
from typing import Literal

from opencharacter.characters.profile import CharacterProfile
from opencharacter.characters.text import render_profile
from opencharacter.templates import Template, load_template

PromptView = Literal["persona_and_profile", "profile", "persona"]
"""What of a character the prompt holds: a template may name the character besides."""

PromptName = Literal["immersive", "paper"]
"""The packaged system prompts: `immersive` speaks as the character itself, `paper` as an AI that plays it."""

DEFAULT_PROMPT: PromptName = "immersive"

PROMPT_FILES: dict[PromptName, str] = {"immersive": "system.md", "paper": "system_paper.md"}
"""The template of each system prompt."""

_WITHOUT_NAME = "the character described below"
"""What a template calls a character without a name."""


def load_prompt(name: PromptName = DEFAULT_PROMPT) -> Template:
    """The template of a named system prompt, or its replacement from the override folder."""
    return load_template(PROMPT_FILES[name])


def system_prompt(
    profile: CharacterProfile, view: PromptView = "persona_and_profile", template: Template | None = None
) -> str:
    """Render the system prompt; without `template`, the immersive one.

    Persona and profile are data: a macro inside them stays as it is. The view `persona` of a character that has none
    shows the profile, and the view `profile` of a character that has only a persona shows that, because a prompt has
    to describe somebody. Raises `UserError` if the template uses an unknown macro.
    """
    persona, attributes = profile.persona or "", render_profile(profile)
    return (template or load_prompt()).render_paragraphs(
        name=profile.name or _WITHOUT_NAME,
        persona="" if view == "profile" and attributes else persona,
        profile="" if view == "persona" and persona else attributes,
    )


def extend_prompt(
    prompt: str,
    *,
    instructions: str = "",
    scenario: str = "",
    example_dialogue: str = "",
    user_name: str = "",
    further: Iterable[str] = (),
) -> str:
    """The system prompt with what may stand after the profile, each its own paragraph; empty ones are left out.

    What stays the same through a character's sessions comes first, so that a model server's prefix cache serves it.
    `further` are system messages of the client's own.
    """
    paragraphs = (
        prompt,
        instructions,
        scenario and f"Scenario:\n{scenario}",
        example_dialogue and f"Example dialogue:\n{example_dialogue}",
        user_name and f"You are talking with {user_name}.",
        *further,
    )
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
