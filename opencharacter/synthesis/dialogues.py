"""The steps of R and G: `synthesise_responses` for each shard, then `collect_dialogues`."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from opencharacter.characters.profile import CharacterProfile
from opencharacter.engines.engine_config import EngineConfig
from opencharacter.errors import UserError
from opencharacter.generation.rows import Job, Outcome
from opencharacter.generation.shards import collect, make_shard
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.records.models import DialogueRow, Session
from opencharacter.storage.jsonl import read_models
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.synthesis.dialogue_prompts import GeneratePrompt, RewritePrompt, generate, rewrite
from opencharacter.synthesis.dialogue_tasks import Casting, Scene
from opencharacter.synthesis.synthesis_config import Corpus, ResponsesConfig

_ROWS = "responses"


def synthesise_responses(
    config: ResponsesConfig,
    corpora: Sequence[Corpus],
    engines: dict[str, EngineConfig],
    sessions: Artifact,
    characters: Artifact,
    *,
    workspace: Workspace,
    seed: int,
    shard: int = 0,
    shards: int = 1,
) -> Artifact:
    """Make the R and G rows that shard `shard` of `shards` owns.

    Returns a manifest of kind `responses_rows`: counts of ok and rejected rows, and in its stats the calls and tokens
    of the run that made it. No server is started where no row is left to make. Raises `OpenCharacterError` if a
    teacher is down, leaves rows unanswered or gives nearly nothing usable; what was finished is kept.
    """

    def jobs() -> Iterator[Job]:
        casting = _casting(config, corpora, engines, characters, seed)
        for session in _sessions(sessions):
            for scene in casting.scenes(session):
                yield _job(scene, casting, config.attempts)

    return make_shard(
        workspace,
        _ROWS,
        _key(config, corpora, engines, sessions, characters, seed),
        jobs,
        engines,
        shard=shard,
        shards=shards,
        seed=seed,
        attempts=config.attempts,
        max_rejected_share=config.max_rejected_share,
    )


def collect_dialogues(
    config: ResponsesConfig,
    corpora: Sequence[Corpus],
    engines: dict[str, EngineConfig],
    sessions: Artifact,
    characters: Artifact,
    *,
    workspace: Workspace,
    seed: int,
) -> Artifact:
    """Gather the rows of all shards, in the order of sessions, strategies and draws.

    Returns a reference of kind `dialogues`: `dialogues.jsonl.zst` (the good DialogueRows) and `rejected.jsonl`
    (DialogueRows without turns). Counts hold `skipped_without_answers` (R rows of sessions that have none), stats
    `unchanged_answers` (R answers equal to the source's). Raises `OpenCharacterError` if rows are missing or too many
    were rejected.
    """
    key = digest({"step": "collect_dialogues", "rows": _key(config, corpora, engines, sessions, characters, seed)})
    if ref := workspace.lookup("dialogues", key):
        return ref
    casting = _casting(config, corpora, engines, characters, seed)
    scenes: dict[str, Scene] = {}
    skipped = unchanged = 0
    for session in _sessions(sessions):
        skipped += casting.skipped(session)
        for scene in casting.scenes(session):
            scenes.setdefault(scene.row_id, scene)

    def build(row_id: str, scene: Scene, outcome: Outcome) -> DialogueRow:
        nonlocal unchanged
        unchanged += outcome.content.get("unchanged", 0)
        return DialogueRow(
            row_id=row_id,
            corpus=scene.session.corpus,
            session_id=scene.session.id,
            character_id=scene.character.id,
            strategy=scene.strategy,
            status=outcome.status,
            reason=outcome.reason,
            turns=scene.turns(outcome.content["answers"]) if outcome.status == "ok" else (),
            source=scene.session.source,
            licence=scene.session.licence,
            model=scene.model,
            prompt_hash=casting.prompt_hash[scene.strategy],
            usage=outcome.usage,
        )

    with workspace.create("dialogues", key) as draft:
        collect(
            draft,
            workspace.rows(_ROWS),
            "dialogues",
            scenes,
            build,
            attempts=config.attempts,
            max_rejected_share=config.max_rejected_share,
        )
        draft.counts["skipped_without_answers"] = skipped
        draft.stats["unchanged_answers"] = unchanged
    return draft.committed()


def _job(scene: Scene, casting: Casting, attempts: int) -> Job:
    played: dict[str, Any] = {"session": scene.session, "profile": scene.character, "attempts": attempts}
    make = (
        functools.partial(rewrite, prompt=casting.rewrite_prompt, **played)
        if scene.strategy == "R"
        else functools.partial(generate, prompt=casting.generate_prompt, **played)
    )
    return Job(scene.row_id, scene.engine, casting.sampling[scene.strategy], make)


def _casting(
    config: ResponsesConfig,
    corpora: Sequence[Corpus],
    engines: dict[str, EngineConfig],
    characters: Artifact,
    seed: int,
) -> Casting:
    pool = list(read_models(characters.file("characters.jsonl.zst"), CharacterProfile))
    return Casting(config, corpora, engines, pool, seed)


def _sessions(sessions: Artifact) -> Iterator[Session]:
    return read_models(sessions.file("sessions.jsonl.zst"), Session)


def _key(
    config: ResponsesConfig,
    corpora: Sequence[Corpus],
    engines: dict[str, EngineConfig],
    sessions: Artifact,
    characters: Artifact,
    seed: int,
) -> str:
    for corpus in corpora:
        if corpus.teacher not in engines:
            raise UserError(f"corpus '{corpus.name}': no engine '{corpus.teacher}'; declared: {sorted(engines)}")
    return digest(
        {
            "step": "responses",
            "config": config.model_dump(),
            "corpora": [
                [corpus.name, corpus.strategies, corpus.n, engines[corpus.teacher].model] for corpus in corpora
            ],
            "sessions": sessions.digest,
            "characters": characters.digest,
            "prompts": [RewritePrompt.load(config.rewrite_sampling).hash, GeneratePrompt.load().hash],
            "seed": seed,
            "library": fingerprint(),
        }
    )
