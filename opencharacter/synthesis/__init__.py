"""Synthesis: personas become character profiles, sessions become in-character dialogues (R and G)."""

from opencharacter.synthesis.config import (
    Corpus,
    InputsConfig,
    PersonaSource,
    ProfilesConfig,
    ReleaseSource,
    ResponsesConfig,
)
from opencharacter.synthesis.profile_steps import collect_characters, synthesise_profiles
from opencharacter.synthesis.response_steps import collect_dialogues, synthesise_responses

__all__ = [
    "Corpus",
    "InputsConfig",
    "PersonaSource",
    "ProfilesConfig",
    "ReleaseSource",
    "ResponsesConfig",
    "collect_characters",
    "collect_dialogues",
    "synthesise_profiles",
    "synthesise_responses",
]
