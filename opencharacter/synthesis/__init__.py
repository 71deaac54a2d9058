"""Synthesis: personas become character profiles, sessions become in-character dialogues (R and G)."""

from opencharacter.synthesis.dialogues import collect_dialogues, generate_session, rewrite_session, synthesise_responses
from opencharacter.synthesis.ingest import Ingested, ingest
from opencharacter.synthesis.profiles import collect_characters, make_profile, synthesise_profiles
from opencharacter.synthesis.release import Released, import_release
from opencharacter.synthesis.synthesis_config import (
    Corpus,
    InputsConfig,
    PersonaSource,
    ProfilesConfig,
    ReleaseSource,
    ResponsesConfig,
)

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
    "generate_session",
    "import_release",
    "ingest",
    "make_profile",
    "rewrite_session",
    "synthesise_profiles",
    "synthesise_responses",
]
