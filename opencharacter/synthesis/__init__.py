"""Synthesis: personas become character profiles, sessions become in-character dialogues (R and G)."""

from opencharacter.synthesis.dialogues import collect_dialogues, generate_session, rewrite_session, synthesise_responses
from opencharacter.synthesis.imported_characters import import_characters
from opencharacter.synthesis.ingest import Ingested, ingest
from opencharacter.synthesis.profiles import collect_profiles, make_profile, synthesise_profiles
from opencharacter.synthesis.published_dataset import ImportedDataset, import_dataset
from opencharacter.synthesis.quality import judge_dialogues
from opencharacter.synthesis.synthesis_config import (
    CharacterSource,
    Corpus,
    InputsConfig,
    PersonaSource,
    ProfilesConfig,
    PublishedDataset,
    QualityConfig,
    ResponsesConfig,
)

__all__ = [
    "CharacterSource",
    "Corpus",
    "ImportedDataset",
    "Ingested",
    "InputsConfig",
    "PersonaSource",
    "ProfilesConfig",
    "PublishedDataset",
    "QualityConfig",
    "ResponsesConfig",
    "collect_dialogues",
    "collect_profiles",
    "generate_session",
    "import_characters",
    "import_dataset",
    "ingest",
    "judge_dialogues",
    "make_profile",
    "rewrite_session",
    "synthesise_profiles",
    "synthesise_responses",
]
