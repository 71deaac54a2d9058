"""Characters: the profile, its text form, and the system prompt made of it."""

from opencharacter.characters.loading import load_profile
from opencharacter.characters.profile import ATTRIBUTES, CharacterProfile, Provenance
from opencharacter.characters.prompt import (
    DEFAULT_PROMPT,
    PROMPT_FILES,
    PromptName,
    PromptView,
    extend_prompt,
    load_prompt,
    system_prompt,
)
from opencharacter.characters.text import is_profile_text, parse_profile, render_profile

__all__ = [
    "ATTRIBUTES",
    "DEFAULT_PROMPT",
    "PROMPT_FILES",
    "CharacterProfile",
    "PromptName",
    "PromptView",
    "Provenance",
    "extend_prompt",
    "is_profile_text",
    "load_profile",
    "load_prompt",
    "parse_profile",
    "render_profile",
    "system_prompt",
]
