"""Profile synthesis (paper, section 3.1): the prompt, one row, and the steps that make all rows and collect them."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from opencharacter.characters.profile import ATTRIBUTES, CharacterProfile, Provenance
from opencharacter.engines import ChatEngine
from opencharacter.engines.engine_config import EngineConfig
from opencharacter.generation.calls import Message, Reply, RowCalls
from opencharacter.generation.control_tokens import require_no_control_token
from opencharacter.generation.errors import Unusable
from opencharacter.generation.refusals import is_refusal
from opencharacter.generation.replies import ends_early, read_object
from opencharacter.generation.rows import RowOutcome, RowPolicy, RowTask, config_of, first_usable, make_row
from opencharacter.generation.sentences import whole_sentences
from opencharacter.generation.shards import WHOLE, Shard, collect, make_shard
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.records.models import Persona
from opencharacter.storage.kinds import PERSONAS
from opencharacter.storage.protocols import RowFiles
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.synthesis.example_overlap import ExampleOverlap
from opencharacter.synthesis.profile_prompt import LINE_CHARS, PROSE, ProfilePrompt
from opencharacter.synthesis.synthesis_config import ProfilesConfig
from opencharacter.texts import text_fault

_NOTHING = {"", "-", "...", "n/a", "na", "none", "null", "string", "text", "unknown", "unspecified", "not specified"}
_ROWS = "profiles"
_REPAIRABLE = {"invalid_json", "missing_attribute"}


def profile_row_id(persona: Persona, prompt: ProfilePrompt, model: str, seed: int) -> str:
    """The row's content address (docs/design.md, decision 3); the run's seed counts as part of the sampling."""
    return digest(
        {
            "row": "profile",
            "persona": persona.text,
            "prompt": prompt.hash,
            "model": model,
            "sampling": prompt.sampling.model_dump(),
            "seed": seed,
        }
    )


async def make_profile(
    engine: EngineConfig | ChatEngine,
    persona: Persona,
    config: ProfilesConfig | None = None,
    *,
    seed: int = 0,
    rows: RowFiles | Path | None = None,
) -> CharacterProfile:
    """Make the character profile of one persona.

    Args:
        engine: The teacher: a config, which is opened for the call, or an open engine.
        persona: What the character is imagined from.
        config: Sampling and attempts.
        seed: Part of the row's address, and of the sampling seeds.
        rows: Where the row is kept, so that a second call asks nothing; none: a temporary folder.

    Returns:
        The profile, as `collect_profiles` would hold it.

    Raises:
        OpenCharacterError: The engine gave no answer, or no usable one.
    """
    config = config or ProfilesConfig()
    prompt, teacher = ProfilePrompt.load(config), config_of(engine)
    policy = _policy(config, seed)
    task = _task(profile_row_id(persona, prompt, teacher.identity, seed), persona, config, prompt, policy)
    outcome = await make_row(task, engine, policy, rows=rows)
    return _profile(persona, outcome, prompt, teacher.model)


def synthesise_profiles(
    config: ProfilesConfig,
    engine: EngineConfig,
    personas: Artifact,
    *,
    workspace: Workspace,
    seed: int,
    shard: Shard = WHOLE,
) -> Artifact:
    """Make the profiles that a shard owns.

    Returns a manifest of kind `profiles_rows`: counts of ok and rejected rows, and in its stats the calls and tokens of
    the run that made it. No server is started where no row is left to make. Raises `OpenCharacterError` if the teacher
    is down, leaves rows unanswered or gives nearly nothing usable; finished rows are kept.
    """
    prompt, policy = ProfilePrompt.load(config), _policy(config, seed)

    def tasks() -> Iterator[RowTask]:
        for row_id, persona in _personas(personas, prompt, engine.identity, seed).items():
            yield _task(row_id, persona, config, prompt, policy)

    key = _key(config, engine, personas, prompt, seed)
    return make_shard(workspace, _ROWS, key, tasks, {config.teacher: engine}, shard, policy)


def collect_profiles(
    config: ProfilesConfig, engine: EngineConfig, personas: Artifact, *, workspace: Workspace, seed: int
) -> Artifact:
    """Collect the profiles of all shards, in the personas' order.

    Returns an artifact of kind `characters`: `characters.jsonl.zst` (CharacterProfile) and `rejected.jsonl` (row id,
    reason, detail, persona). Stats hold `shared_with_example`: profiles that have the first name of the example that
    the teacher saw, or five words in a row of it. Raises `OpenCharacterError` if rows are missing or too many were
    rejected.
    """
    prompt = ProfilePrompt.load(config)
    key = digest({"step": "collect_profiles", "rows": _key(config, engine, personas, prompt, seed)})
    if artifact := workspace.lookup("characters", key):
        return artifact

    def build(row_id: str, persona: Persona, outcome: RowOutcome) -> CharacterProfile | dict[str, Any]:
        if outcome.reason:
            detail = {"detail": outcome.detail} if outcome.detail else {}
            return {"row_id": row_id, "reason": outcome.reason, **detail, "persona": persona.model_dump()}
        profile = _profile(persona, outcome, prompt, engine.model)
        overlap.add(profile)
        return profile

    overlap = ExampleOverlap(prompt)
    with workspace.create("characters", key) as draft:
        items = _personas(personas, prompt, engine.identity, seed)
        collect(draft, workspace.rows(_ROWS), "characters", items, build, _policy(config, seed))
        draft.stats["shared_with_example"] = overlap.dump()
    return draft.committed()


def _policy(config: ProfilesConfig, seed: int) -> RowPolicy:
    return RowPolicy(config.attempts, config.max_rejected_share, seed)


def _task(row_id: str, persona: Persona, config: ProfilesConfig, prompt: ProfilePrompt, policy: RowPolicy) -> RowTask:
    ask = functools.partial(_ask_profile, persona=persona, prompt=prompt, attempts=config.attempts)
    return policy.task(row_id, config.teacher, config.sampling, ask)


def _profile(persona: Persona, outcome: RowOutcome, prompt: ProfilePrompt, model: str) -> CharacterProfile:
    provenance = Provenance(
        source=persona.source,
        licence=persona.licence,
        persona_id=persona.id,
        model=model,
        prompt_hash=prompt.hash,
    )
    try:
        return CharacterProfile(**outcome.content, persona=persona.text, provenance=provenance)
    except ValidationError as error:
        raise Unusable("blank_attribute") from error


async def _ask_profile(calls: RowCalls, *, persona: Persona, prompt: ProfilePrompt, attempts: int) -> dict[str, Any]:
    """The eight attributes of a character for a persona. Raises `Unusable` after the last attempt."""
    require_no_control_token(persona.text)
    messages = prompt.messages(persona.text)

    async def attempt(number: int) -> dict[str, Any]:
        reply = await calls.ask(f"{number}", messages, schema=prompt.schema)
        try:
            return _check(reply, persona, prompt)
        except Unusable as error:
            if error.reason not in _REPAIRABLE:
                raise
            again = [*messages, *_repair(reply, error, prompt)]
        return _check(await calls.ask(f"{number}.repair", again, schema=prompt.schema), persona, prompt)

    result: dict[str, Any] = await first_usable(attempts, attempt)
    return result


def _repair(reply: Reply, problem: Unusable, prompt: ProfilePrompt) -> list[Message]:
    request = prompt.repair.render(problem=str(problem), keys=", ".join(f'"{name}"' for name in ATTRIBUTES))
    return [{"role": "assistant", "content": reply.text}, {"role": "user", "content": request}]


def _check(reply: Reply, persona: Persona, prompt: ProfilePrompt) -> dict[str, Any]:
    given = {key.strip().lower().replace(" ", "_"): value for key, value in read_object(reply.text).items()}
    cut_off = ends_early(reply.text, cut_off=reply.cut_off)
    if missing := [name for name in ATTRIBUTES if given.get(name) is None]:
        # A cut-off object ends early: asking again, with another seed, helps more than a repair.
        raise Unusable("truncated" if cut_off else "missing_attribute", f"it lacks {', '.join(missing)}")
    try:
        profile = CharacterProfile.model_validate({name: given[name] for name in ATTRIBUTES})
    except ValidationError as error:
        if not all(isinstance(given[name], str | int if name == "age" else str) for name in ATTRIBUTES):
            raise Unusable("invalid_json", "a value is not a text") from error
        blank = any(text_fault(str(given[name])) for name in ATTRIBUTES)
        raise Unusable("blank_attribute" if blank else "overlong_attribute") from error
    attributes = {name: str(getattr(profile, name)) for name in ATTRIBUTES}
    for name in PROSE:
        at_limit = reply.structured and len(given[name]) == prompt.prose_chars
        if at_limit or (cut_off and name == list(given)[-1]):
            attributes[name] = whole_sentences(attributes[name])
    for name in LINE_CHARS:
        attributes[name] = attributes[name].rstrip(" ,;")
    _check_content(attributes, persona, prompt)
    return attributes


def _check_content(attributes: dict[str, str], persona: Persona, prompt: ProfilePrompt) -> None:
    for name, value in attributes.items():
        plain = value.strip().lower()
        if plain.strip(" .") in _NOTHING:
            raise Unusable("blank_attribute")
        require_no_control_token(value)
        if is_refusal(value):
            raise Unusable("refusal")
        if value in prompt.echo or plain in {name.replace("_", " "), persona.text.strip().lower()}:
            raise Unusable("echo")


def _personas(personas: Artifact, prompt: ProfilePrompt, model: str, seed: int) -> dict[str, Persona]:
    """The personas by row id; of equal ones the first counts."""
    by_row: dict[str, Persona] = {}
    for persona in PERSONAS.read(personas):
        by_row.setdefault(profile_row_id(persona, prompt, model, seed), persona)
    return by_row


def _key(config: ProfilesConfig, engine: EngineConfig, personas: Artifact, prompt: ProfilePrompt, seed: int) -> str:
    return digest(
        {
            "step": "profiles",
            "config": config.model_dump(exclude={"teacher"}),
            "model": engine.identity,
            "personas": personas.digest,
            "prompt": prompt.hash,
            "seed": seed,
            "library": fingerprint(),
        }
    )
