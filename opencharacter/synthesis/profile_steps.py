"""The steps of profile synthesis: `synthesise_profiles` for each shard, then `collect_characters`."""

import functools
from collections.abc import Iterator
from typing import Any

from opencharacter.characters.profile import CharacterProfile, Provenance
from opencharacter.engines.config import EngineConfig
from opencharacter.generation.rows import Job, Outcome
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.records.models import Persona
from opencharacter.storage.jsonl import read_models
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.synthesis.config import ProfilesConfig
from opencharacter.synthesis.profiles import ProfilePrompt, make_profile, profile_row_id
from opencharacter.synthesis.stages import collect, make_shard

_ROWS = "profiles"


def synthesise_profiles(
    config: ProfilesConfig,
    engine: EngineConfig,
    personas: Artifact,
    *,
    workspace: Workspace,
    seed: int,
    shard: int = 0,
    shards: int = 1,
) -> Artifact:
    """Make the profiles that shard `shard` of `shards` owns.

    Returns a manifest of kind `profiles_rows`: counts of ok and rejected rows, and in its stats the calls and tokens of
    the run that made it. No server is started where no row is left to make. Raises `OpenCharacterError` if the teacher
    is down, leaves rows unanswered or gives nearly nothing usable; what was finished is kept.
    """
    prompt = ProfilePrompt.load(config.sampling)

    def jobs() -> Iterator[Job]:
        for row_id, persona in _personas(personas, prompt, engine.model, seed).items():
            make = functools.partial(make_profile, persona=persona, prompt=prompt, attempts=config.attempts)
            yield Job(row_id, config.teacher, config.sampling, make)

    return make_shard(
        workspace,
        _ROWS,
        _key(config, engine, personas, prompt, seed),
        jobs,
        {config.teacher: engine},
        shard=shard,
        shards=shards,
        seed=seed,
        attempts=config.attempts,
        max_rejected_share=config.max_rejected_share,
    )


def collect_characters(
    config: ProfilesConfig, engine: EngineConfig, personas: Artifact, *, workspace: Workspace, seed: int
) -> Artifact:
    """Gather the profiles of all shards, in the personas' order.

    Returns a reference of kind `characters`: `characters.jsonl.zst` (CharacterProfile) and `rejected.jsonl` (row id,
    reason, persona). Raises `OpenCharacterError` if rows are missing or too many were rejected.
    """
    prompt = ProfilePrompt.load(config.sampling)
    key = digest({"step": "collect_characters", "rows": _key(config, engine, personas, prompt, seed)})
    if ref := workspace.lookup("characters", key):
        return ref

    def build(row_id: str, persona: Persona, outcome: Outcome) -> CharacterProfile | dict[str, Any]:
        if outcome.reason:
            return {"row_id": row_id, "reason": outcome.reason, "persona": persona.model_dump()}
        provenance = Provenance(
            source=persona.source,
            licence=persona.licence,
            persona_id=persona.id,
            model=engine.model,
            prompt_hash=prompt.hash,
        )
        return CharacterProfile(**outcome.content, persona=persona.text, provenance=provenance)

    with workspace.create("characters", key) as draft:
        collect(
            draft,
            workspace.rows(_ROWS),
            "characters",
            _personas(personas, prompt, engine.model, seed),
            build,
            attempts=config.attempts,
            max_rejected_share=config.max_rejected_share,
        )
    return draft.committed()


def _personas(personas: Artifact, prompt: ProfilePrompt, model: str, seed: int) -> dict[str, Persona]:
    """The personas by row id; of equal ones the first counts."""
    by_row: dict[str, Persona] = {}
    for persona in read_models(personas.file("personas.jsonl.zst"), Persona):
        by_row.setdefault(profile_row_id(persona, prompt, model, seed), persona)
    return by_row


def _key(config: ProfilesConfig, engine: EngineConfig, personas: Artifact, prompt: ProfilePrompt, seed: int) -> str:
    return digest(
        {
            "step": "profiles",
            "config": config.model_dump(exclude={"teacher"}),
            "model": engine.model,
            "personas": personas.digest,
            "prompt": prompt.hash,
            "seed": seed,
            "library": fingerprint(),
        }
    )
