"""The quality stage: a judge scores each dialogue, has bad answers rewritten once, and drops what stays bad."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any, NamedTuple

from opencharacter.characters import render_profile
from opencharacter.characters.profile import CharacterProfile
from opencharacter.engines import ChatEngine, ChatFailed, ChatReply, EngineConfig, Sampling, open_engine
from opencharacter.errors import OpenCharacterError
from opencharacter.generation.errors import Unusable
from opencharacter.generation.judgements import JUDGEMENT_SCHEMA, ContentCall, make_calls, read_judgement
from opencharacter.generation.replies import PromptEcho, check_answer, ends_early, read_object
from opencharacter.generation.rows import OK, StoredRow
from opencharacter.hashing import digest, seed64
from opencharacter.library import fingerprint
from opencharacter.records.evaluation import ENGINE_FAILURE, is_final
from opencharacter.records.models import DialogueRow, Turn, Usage
from opencharacter.storage.jsonl import write_jsonl
from opencharacter.storage.kinds import CHARACTERS, DIALOGUES, REJECTED
from opencharacter.storage.rowstore import RowReader, RowStore, open_rows, read_rows
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.synthesis.synthesis_config import QualityConfig
from opencharacter.system.event_loop import run_coroutine
from opencharacter.templates import load_template

LOW, NOT_JUDGED = "low_quality", "not_judged"
"""Why a dialogue is dropped: its score is below the threshold; the judge gave no score."""

_ROWS = "quality"
_AT_ONCE = 10_000
"""Dialogues that are held in memory."""
_SPEAKERS = {"user": "User", "assistant": "Character"}


class Verdict(NamedTuple):
    """What becomes of a dialogue."""

    outcome: str
    """`accepted`, `repaired`, or why it is dropped."""
    row: DialogueRow
    usage: Usage


def judge_dialogues(
    config: QualityConfig,
    judge: EngineConfig,
    dialogues: Artifact,
    characters: Artifact,
    *,
    workspace: Workspace,
    seed: int,
) -> Artifact:
    """Judge every dialogue, and keep those that reach the threshold, after one repair if need be.

    Returns an artifact of kind `dialogues` that takes the place of the given one. Its rows hold score, reason and
    whether they were repaired under `extra.quality`; a repaired row names the judge as its model. `rejected.jsonl`
    holds the rows that synthesis had rejected and those that are dropped here (`low_quality`, `not_judged`); stats
    count all outcomes under `quality`. Each call is kept by its content: another threshold asks for what is missing.

    Raises `OpenCharacterError` if the judge is down or leaves calls unanswered, or if too many rows are dropped;
    finished calls are kept.
    """
    stage = _Stage(config, judge, seed, {profile.id: profile for profile in CHARACTERS.read(characters)})
    key = digest(
        {
            "step": "judge_dialogues",
            "config": config.model_dump(exclude={"engine", "max_dropped_share"}),
            "judge": judge.identity,
            "dialogues": dialogues.digest,
            "characters": characters.digest,
            "prompts": stage.prompt_hashes,
            "seed": seed,
            "library": fingerprint(),
        }
    )
    if artifact := workspace.lookup("dialogues", key):
        return artifact
    began = time.monotonic()
    files = workspace.rows(_ROWS)

    async def ask_all() -> None:
        async with open_rows(files, is_final=is_final) as store:
            await stage.ask_all(DIALOGUES.read(dialogues), store)

    run_coroutine(ask_all())
    store = read_rows(files, is_final=is_final)
    outcomes: Counter[str] = Counter()
    usage = Usage.model_validate(dialogues.stats.get("usage") or {})
    dropped: list[dict[str, Any]] = list(REJECTED.read_raw(dialogues)) if REJECTED.exists(dialogues) else []

    def kept() -> Iterator[DialogueRow]:
        nonlocal usage
        for row in DIALOGUES.read(dialogues):
            verdict = stage.verdict(row, store)
            outcomes[verdict.outcome] += 1
            usage += verdict.usage
            if verdict.row.status == OK:
                yield verdict.row
            else:
                dropped.append(verdict.row.model_dump(mode="json"))

    with workspace.create("dialogues", key) as draft:
        good = DIALOGUES.write(draft.path, kept())
        stage.check(outcomes)
        write_jsonl(draft.path / REJECTED.name, dropped)
        reasons = Counter(dialogues.stats.get("rejected_by_reason") or {})
        reasons.update({reason: outcomes[reason] for reason in (LOW, NOT_JUDGED) if outcomes[reason]})
        draft.counts = dialogues.counts | {OK: good, "rejected": len(dropped)}
        draft.stats = dialogues.stats | {
            "wall_s": round(dialogues.stats.get("wall_s", 0.0) + time.monotonic() - began, 3),
            "usage": usage.model_dump(),
            "rejected_by_reason": dict(reasons.most_common()),
            "quality": {"judge": judge.model, "threshold": config.threshold, "outcomes": dict(outcomes.most_common())},
        }
    return draft.committed()


class _Stage:
    """Makes the calls of a dialogue, and decides by their replies."""

    def __init__(
        self, config: QualityConfig, judge: EngineConfig, seed: int, characters: Mapping[str, CharacterProfile]
    ) -> None:
        self._config = config
        self._judge = judge
        self._seed = seed
        self._characters = characters
        self._descriptions: dict[str, str] = {}
        self._prompt = load_template("quality.md")
        self._repair_prompt = load_template("quality_repair.md")
        self._rubric = config.rubric or load_template("quality_rubric.md").text.strip()
        self._echo = PromptEcho(self._repair_prompt.text)

    @property
    def prompt_hashes(self) -> list[str]:
        """What the judge reads besides the dialogues."""
        return [self._prompt.hash, self._repair_prompt.hash, digest(self._rubric)]

    async def ask_all(self, rows: Iterable[DialogueRow], store: RowStore) -> None:
        """Make the calls that the store does not hold: judgements, repairs, judgements of the repaired."""
        outcomes: Counter[str] = Counter()
        async with AsyncExitStack() as stack:
            asker = _Asker(self._judge, store, stack)
            rows = iter(rows)
            while some := list(islice(rows, _AT_ONCE)):
                first = [self._judgement(row) for row in some]
                await asker.ask(first, read_judgement, "judgements")
                if self._config.repair:
                    await self._repair(zip(some, first, strict=True), asker, store)
                outcomes.update(self.verdict(row, store).outcome for row in some)
                self.check(outcomes)

    def verdict(self, row: DialogueRow, store: RowReader) -> Verdict:
        """What becomes of a dialogue whose calls are made."""
        first = store.read(self._judgement(row).row_id)
        used = _usage(first)
        if first["status"] != OK:
            return Verdict(NOT_JUDGED, _dropped(row, NOT_JUDGED, first), used)
        if not self._is_low(first):
            return Verdict("accepted", _noted(row, first, repaired=False), used)
        if self._config.repair:
            repair = store.read(self._repair_call(row, first["note"]).row_id)
            used += _usage(repair)
            if better := self._repaired(row, repair):
                second = store.read(self._judgement(better).row_id)
                used += _usage(second)
                if second["status"] == OK and not self._is_low(second):
                    return Verdict("repaired", _noted(better, second, repaired=True), used)
        return Verdict(LOW, _dropped(row, LOW, first), used)

    def check(self, outcomes: Counter[str]) -> None:
        """Raise `OpenCharacterError` if too many dialogues are dropped, or all of them."""
        dropped = outcomes[LOW] + outcomes[NOT_JUDGED]
        if dropped > self._config.max_dropped_share * outcomes.total() or (dropped and dropped == outcomes.total()):
            reasons = ", ".join(f"{reason} {outcomes[reason]}" for reason in (LOW, NOT_JUDGED) if outcomes[reason])
            raise OpenCharacterError(
                f"{dropped} of {outcomes.total()} dialogues would be dropped by the judge: {reasons}",
                hint="give the judge more room (quality.judge_sampling.max_tokens: a reasoning model needs thousands)"
                if outcomes[NOT_JUDGED] > outcomes[LOW]
                else "lower quality.threshold, or try another judge or rubric; finished judgements are kept",
            )

    async def _repair(
        self, judged: Iterable[tuple[DialogueRow, ContentCall]], asker: "_Asker", store: RowStore
    ) -> None:
        repairs: list[tuple[DialogueRow, ContentCall]] = []
        for row, first in judged:
            judgement = store.read(first.row_id)
            if self._is_low(judgement):
                repairs.append((row, self._repair_call(row, judgement["note"])))
        await asker.ask([call for _, call in repairs], _read_answers, "repairs")
        repaired = [self._repaired(row, store.read(call.row_id)) for row, call in repairs]
        await asker.ask([self._judgement(row) for row in repaired if row], read_judgement, "judgements of repairs")

    def _is_low(self, judgement: Mapping[str, Any]) -> bool:
        return judgement["status"] == OK and judgement["score"] < self._config.threshold

    def _repaired(self, row: DialogueRow, reply: Mapping[str, Any]) -> DialogueRow | None:
        """The dialogue with its new answers; none if they cannot be used."""
        questions = [turn.content for turn in row.turns if turn.role == "user"]
        if reply["status"] != OK or len(reply["answers"]) != _answers(row):
            return None
        answers: list[str] = []
        try:
            for number, (answer, question) in enumerate(zip(reply["answers"], questions, strict=False), start=1):
                at_the_end = reply["cut_off"] and number == len(reply["answers"])
                checked = check_answer(answer, cut_off=at_the_end, echo=self._echo, question=question)
                answers.append(checked.text)
        except Unusable:
            return None
        left = iter(answers)
        turns = tuple(
            Turn(role="assistant", content=next(left)) if turn.role == "assistant" else turn for turn in row.turns
        )
        return row.model_copy(update={"turns": turns, "model": self._judge.model})

    def _judgement(self, row: DialogueRow) -> ContentCall:
        prompt = self._prompt.render(
            character=self._described(row), dialogue=_transcript(row.turns), rubric=self._rubric
        )
        return self._call(prompt, self._config.judge_sampling, JUDGEMENT_SCHEMA)

    def _repair_call(self, row: DialogueRow, fault: str) -> ContentCall:
        count = _answers(row)
        prompt = self._repair_prompt.render(
            character=self._described(row), dialogue=_transcript(row.turns), fault=fault, count=str(count)
        )
        texts = {"type": "array", "items": {"type": "string"}, "minItems": count, "maxItems": count}
        schema = {"type": "object", "properties": {"answers": texts}, "required": ["answers"]}
        return self._call(prompt, self._config.repair_sampling, schema | {"additionalProperties": False})

    def _call(self, prompt: str, sampling: Sampling, schema: dict[str, Any]) -> ContentCall:
        return ContentCall(
            model=self._judge.identity,
            messages=[{"role": "user", "content": prompt}],
            sampling=sampling,
            seed=seed64(self._seed, "quality"),
            schema=schema,
        )

    def _described(self, row: DialogueRow) -> str:
        character = self._characters.get(row.character_id)
        if character is None:
            raise OpenCharacterError(
                f"dialogue {row.row_id}: its character {row.character_id} is not among the characters",
                hint="give the characters that the dialogues were made with",
            )
        if row.character_id not in self._descriptions:
            texts = (character.persona, render_profile(character))
            self._descriptions[row.character_id] = "\n\n".join(filter(None, texts))
        return self._descriptions[row.character_id]


class _Asker:
    """Makes calls of the judge, which is opened once and only if a call is left."""

    def __init__(self, judge: EngineConfig, store: RowStore, stack: AsyncExitStack) -> None:
        self._judge = judge
        self._store = store
        self._stack = stack
        self._engine: ChatEngine | None = None

    async def ask(self, calls: list[ContentCall], read: Callable[[ChatReply], dict[str, Any]], what: str) -> None:
        """Make those that the store does not hold. Raises `OpenCharacterError` if some got no answer."""
        left = [call for call in calls if not self._store.finished(call.row_id)]
        if not left:
            return
        if self._engine is None:
            self._engine = await self._stack.enter_async_context(open_engine(self._judge))
        await make_calls(
            left,
            self._engine,
            self._store,
            lambda reply: read(reply) | {"usage": reply.usage.model_dump()},
            what=what,
            on_failure=_failed,
        )
        unanswered = {call.row_id for call in left if not self._store.finished(call.row_id)}
        if unanswered:
            raise OpenCharacterError(
                f"{len(unanswered)} {what} got no answer",
                hint="the rest is kept: run the same command again to ask for these",
            )


def _failed(error: ChatFailed) -> StoredRow:
    """A request that the server rejects leaves the dialogue without a score; another is made again by a later run."""
    status = "refused" if error.refused else ENGINE_FAILURE
    return StoredRow({"status": status, "note": str(error), "usage": Usage().model_dump()}, status)


def _read_answers(reply: ChatReply) -> dict[str, Any]:
    try:
        answers = read_object(reply.text).get("answers")
    except Unusable as error:
        return {"status": error.reason, "note": reply.text}
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        return {"status": "invalid_json", "note": reply.text}
    cut_off = ends_early(reply.text, cut_off=reply.finish_reason == "length")
    return {"status": OK, "answers": answers, "cut_off": cut_off}


def _usage(content: Mapping[str, Any]) -> Usage:
    return Usage.model_validate(content["usage"])


def _answers(row: DialogueRow) -> int:
    return sum(turn.role == "assistant" for turn in row.turns)


def _transcript(turns: Iterable[Turn]) -> str:
    return "\n\n".join(f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in turns if turn.role in _SPEAKERS)


def _noted(row: DialogueRow, judgement: Mapping[str, Any], *, repaired: bool) -> DialogueRow:
    noted = {"score": judgement.get("score"), "note": judgement["note"], "repaired": repaired}
    return row.model_copy(update={"extra": row.extra | {"quality": noted}})


def _dropped(row: DialogueRow, reason: str, judgement: Mapping[str, Any]) -> DialogueRow:
    noted = _noted(row, judgement, repaired=False)
    return noted.model_copy(update={"status": "rejected", "reason": reason})
