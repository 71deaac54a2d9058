"""Dialogue synthesis (paper, sections 3.2 and 3.3): one dialogue, and the steps that make all and collect them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from opencharacter.characters.profile import CharacterProfile
from opencharacter.characters.prompt import DEFAULT_PROMPT, PromptName
from opencharacter.engines import ChatEngine
from opencharacter.engines.engine_config import EngineConfig
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.generation.errors import Unusable
from opencharacter.generation.rows import RowOutcome, config_of, make_row
from opencharacter.generation.shards import WHOLE, Shard, collect, make_shard
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.records.models import DialogueRow, Session
from opencharacter.storage.protocols import RowFiles
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.synthesis.dialogue_plan import DialoguePlan, PlannedDialogue
from opencharacter.synthesis.dialogue_tasks import DialogueMaker, DialogueStrategy, session_content
from opencharacter.synthesis.synthesis_config import Corpus, ResponsesConfig

_ROWS = "responses"
CHARACTERS_PER_SHARD = 256
"""With fewer, shards are cut by row: by character, one of eight would have more than a tenth more rows than others."""


async def rewrite_session(
    engine: EngineConfig | ChatEngine,
    session: Session,
    character: CharacterProfile,
    config: ResponsesConfig | None = None,
    *,
    seed: int = 0,
    rows: RowFiles | Path | None = None,
) -> DialogueRow:
    """Make one dialogue by OpenCharacter-R: rewrite the session's answers as the character would say them.

    Args:
        engine: The teacher: a config, which is opened for the call, or an open engine.
        session: User turns, each with an answer.
        character: Who speaks.
        config: Sampling and attempts.
        seed: Part of the row's address, and of the sampling seeds.
        rows: Where the row is kept, so that a second call asks nothing; none: a temporary folder.

    Returns:
        The dialogue, as `collect_dialogues` would hold it.

    Raises:
        UserError: The session has a user turn without an answer.
        OpenCharacterError: The engine gave no answer, or no usable one.
    """
    if not session.has_answers:
        raise UserError(
            f"session {session.id}: a user turn has no answer to rewrite",
            hint="generate a dialogue instead: that needs no answer",
        )
    return await _make_dialogue("R", engine, session, character, config, seed, rows)


async def generate_session(
    engine: EngineConfig | ChatEngine,
    session: Session,
    character: CharacterProfile,
    config: ResponsesConfig | None = None,
    *,
    seed: int = 0,
    rows: RowFiles | Path | None = None,
    system_prompt: PromptName = DEFAULT_PROMPT,
) -> DialogueRow:
    """Make one dialogue by OpenCharacter-G: the character answers the session's user turns one after the other.

    Args:
        engine: The teacher: a config, which is opened for the call, or an open engine.
        session: User turns; its own answers are not used.
        character: Who speaks.
        config: Sampling and attempts.
        seed: Part of the row's address, and of the sampling seeds.
        rows: Where the row is kept, so that a second call asks nothing; none: a temporary folder.
        system_prompt: Which system prompt the teacher gets.

    Returns:
        The dialogue, as `collect_dialogues` would hold it.

    Raises:
        OpenCharacterError: The engine gave no answer, or no usable one.
    """
    return await _make_dialogue("G", engine, session, character, config, seed, rows, system_prompt)


def synthesise_responses(
    config: ResponsesConfig,
    corpora: Sequence[Corpus],
    engines: dict[str, EngineConfig],
    sessions: Artifact,
    characters: Artifact,
    *,
    workspace: Workspace,
    seed: int,
    shard: Shard = WHOLE,
    system_prompt: PromptName = DEFAULT_PROMPT,
) -> Artifact:
    """Make the R and G rows that a shard owns.

    Returns a manifest of kind `responses_rows`: counts of ok and rejected rows, and in its stats the calls and tokens
    of the run that made it. No server is started where no row is left to make. Raises `OpenCharacterError` if a
    teacher is down, leaves rows unanswered or gives nearly nothing usable; finished rows are kept.
    """
    maker = DialogueMaker(config, seed, system_prompt)
    key = _key(maker, config, corpora, engines, sessions, characters)
    grouped = _by_character(characters, shard)

    def tasks() -> Iterator[PlannedDialogue]:
        plan = DialoguePlan(maker, corpora, engines, sessions, characters)
        yield from plan.rows(shard.owns if grouped else None)

    return make_shard(workspace, _ROWS, key, tasks, engines, shard, maker.policy, grouped=grouped)


def collect_dialogues(
    config: ResponsesConfig,
    corpora: Sequence[Corpus],
    engines: dict[str, EngineConfig],
    sessions: Artifact,
    characters: Artifact,
    *,
    workspace: Workspace,
    seed: int,
    system_prompt: PromptName = DEFAULT_PROMPT,
) -> Artifact:
    """Collect the rows of all shards, in the order of sessions, strategies and draws.

    Returns an artifact of kind `dialogues`: `dialogues.jsonl.zst` (the good DialogueRows) and `rejected.jsonl`
    (DialogueRows without turns). Counts hold `skipped_without_answers` (R rows of sessions that have none), stats
    `unchanged_answers` (R answers equal to the source's), `cut_answers` (those trimmed to whole sentences) and
    `in_character_refusals` (rows). Raises `OpenCharacterError` if rows are missing or too many were rejected.
    """
    maker = DialogueMaker(config, seed, system_prompt)
    key = digest({"step": "collect_dialogues", "rows": _key(maker, config, corpora, engines, sessions, characters)})
    if artifact := workspace.lookup("dialogues", key):
        return artifact
    plan = DialoguePlan(maker, corpora, engines, sessions, characters)
    planned: dict[str, PlannedDialogue] = {}
    for dialogue in plan.rows():
        planned.setdefault(dialogue.row_id, dialogue)
    totals: Counter[str] = Counter()

    def build(row_id: str, dialogue: PlannedDialogue, outcome: RowOutcome) -> DialogueRow:
        row = plan.row(dialogue, outcome)
        totals["unchanged_answers"] += outcome.content.get("unchanged", 0)
        totals["cut_answers"] += outcome.content.get("cut", 0)
        totals["in_character_refusals"] += row.refusal == "in_character"
        return row

    with workspace.create("dialogues", key) as draft:
        collect(draft, workspace.rows(_ROWS), "dialogues", planned, build, maker.policy, parts=_parts)
        draft.counts["skipped_without_answers"] = plan.skipped
        draft.stats |= {name: totals[name] for name in ("unchanged_answers", "cut_answers", "in_character_refusals")}
    return draft.committed()


def _parts(dialogue: PlannedDialogue) -> tuple[str, str]:
    return dialogue.strategy, f"{dialogue.strategy} and corpus '{dialogue.corpus.name}'"


async def _make_dialogue(
    strategy: DialogueStrategy,
    engine: EngineConfig | ChatEngine,
    session: Session,
    character: CharacterProfile,
    config: ResponsesConfig | None,
    seed: int,
    rows: RowFiles | Path | None,
    system_prompt: PromptName = DEFAULT_PROMPT,
) -> DialogueRow:
    maker, teacher = DialogueMaker(config or ResponsesConfig(), seed, system_prompt), config_of(engine)
    content = session_content([turn.model_dump() for turn in session.turns])
    row_id = maker.addresses(strategy, teacher.identity)(content, character.id)
    task = maker.row_task(row_id, strategy, "teacher", character.id, lambda: (session, character))
    outcome = await make_row(task, engine, maker.policy, rows=rows)
    try:
        return maker.row(row_id, strategy, session, character.id, teacher.model, outcome)
    except Unusable as error:
        raise OpenCharacterError(f"the stored row {row_id} holds no usable answer: {error}") from error


def _by_character(characters: Artifact, shard: Shard) -> bool:
    """Whether a shard makes all rows of its characters; of few characters, some shards would have far more than others.

    Rows of one character share the beginning of their prompts, which a server that gets all of them keeps in its cache.
    """
    return characters.counts.get("ok", 0) >= CHARACTERS_PER_SHARD * shard.of


def _key(
    maker: DialogueMaker,
    config: ResponsesConfig,
    corpora: Sequence[Corpus],
    engines: dict[str, EngineConfig],
    sessions: Artifact,
    characters: Artifact,
) -> str:
    for corpus in corpora:
        if corpus.teacher not in engines:
            raise UserError(f"corpus '{corpus.name}': no engine '{corpus.teacher}'; declared: {sorted(engines)}")
    return digest(
        {
            "step": "responses",
            "config": config.model_dump(),
            "corpora": [
                [corpus.name, corpus.strategies, corpus.n, engines[corpus.teacher].identity] for corpus in corpora
            ],
            "sessions": sessions.digest,
            "characters": characters.digest,
            "prompts": maker.prompt_hashes,
            "seed": maker.policy.seed,
            "library": fingerprint(),
        }
    )
