"""Characters: the profile, its text form, and the system prompt made of it."""

from opencharacter.characters.loading import load_profile
from opencharacter.characters.profile import ATTRIBUTES, CharacterProfile, Provenance
from opencharacter.characters.prompt import TEMPLATE_NAME, PromptView, system_prompt
from opencharacter.characters.text import parse_profile, render_profile

__all__ = [
    "ATTRIBUTES",
    "TEMPLATE_NAME",
    "CharacterProfile",
    "PromptView",
    "Provenance",
    "load_profile",
    "parse_profile",
    "render_profile",
    "system_prompt",
]
