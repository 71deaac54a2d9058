"""Synthesis: personas become character profiles, sessions become in-character dialogues (R and G)."""

from opencharacter.synthesis.config import (
    Corpus,
    InputsConfig,
    PersonaSource,
    ProfilesConfig,
    ReleaseSource,
    ResponsesConfig,
)
from opencharacter.synthesis.ingest import Ingested, ingest
from opencharacter.synthesis.profile_steps import collect_characters, synthesise_profiles
from opencharacter.synthesis.release import Released, import_release
from opencharacter.synthesis.response_steps import collect_dialogues, synthesise_responses

__all__ = [
    "Corpus",
    "Ingested",
    "InputsConfig",
    "PersonaSource",
    "ProfilesConfig",
    "ReleaseSource",
    "Released",
    "ResponsesConfig",
    "collect_characters",
    "collect_dialogues",
    "import_release",
    "ingest",
    "synthesise_profiles",
    "synthesise_responses",
]
