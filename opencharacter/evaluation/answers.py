"""The answers of the models: one call an item, or one a turn where the history is the model's own."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from opencharacter.characters import PROMPT_FILES, CharacterProfile, load_prompt, system_prompt
from opencharacter.engines import ChatFailed, ChatReply
from opencharacter.evaluation.endpoint_models import EndpointModel
from opencharacter.evaluation.measures.protocol import row_identity
from opencharacter.evaluation.subjects import Subject
from opencharacter.evaluation.suite import Suite
from opencharacter.generation.calls import Message, RowCalls
from opencharacter.generation.judgements import ContentCall
from opencharacter.generation.rows import RowTask, StoredRow
from opencharacter.hashing import digest, seed64, text_digest
from opencharacter.records.evaluation import ENGINE_FAILURE, TOKEN_LIMIT, AnswerRow, Item, Status
from opencharacter.records.models import Turn, Usage
from opencharacter.storage.rowstore import RowReader
from opencharacter.templates import Template
from opencharacter.texts import is_blank


@dataclass(frozen=True)
class SystemPrompts:
    """Who is shown what system message in a suite."""

    suite: Suite
    characters: Mapping[str, CharacterProfile]
    fallback: Template
    """For models that were not trained for characters."""

    def message(self, subject: Subject, item: Item, character: CharacterProfile | None) -> Turn | None:
        """The system message for an item, as this character; none where nobody is played."""
        view = item.view or self.suite.config.character
        if character is None or view == "none":
            return None
        return Turn(role="system", content=system_prompt(character, view, self._template(subject)))

    def of_item(self, subject: Subject, item: Item) -> Turn | None:
        """The system message for an item, as its own character; none where the server renders it."""
        return None if self.sent_character(subject, item) else self.message(subject, item, self._character(item))

    def sent_character(self, subject: Subject, item: Item) -> dict[str, Any] | None:
        """The item's character as a field of the request, for a server that renders its own system prompt."""
        view, character = item.view or self.suite.config.character, self._character(item)
        if not subject.takes_character or self.suite.config.system_prompt != "own":
            return None
        if character is None or view == "none":
            return None
        sent = character.model_dump(mode="json", exclude={"id", "provenance"}, exclude_none=True)
        if view == "persona" and "persona" in sent:
            return {name: sent[name] for name in ("name", "persona") if name in sent}
        if view == "profile" and "name" in sent:
            sent.pop("persona", None)
        return sent

    def _character(self, item: Item) -> CharacterProfile | None:
        return self.characters[item.character_id] if item.character_id else None

    def _template(self, subject: Subject) -> Template:
        kind = self.suite.config.system_prompt
        if kind == "own":
            return subject.template or self.fallback
        return load_prompt(kind) if kind in PROMPT_FILES else self.suite.templates[kind]


@dataclass(frozen=True)
class AnswerCalls:
    """The calls for the answers of one model to one item."""

    subject: Subject
    suite: Suite
    item: Item
    repeat: int
    system: Turn | None
    character: dict[str, Any] | None
    """Sent with the request, in place of a system message."""
    seed: int

    @property
    def row_id(self) -> str:
        """Content address of the answer."""
        first = ContentCall(
            self.subject.address or self.subject.identity, self._messages(()), self._sampling, self._seed
        ).row_id
        if self.character is not None:
            first = digest({"character": self.character, "call": first})
        if not self._own_history:
            return first
        return digest({"history": "own", "first": first, "turns": [turn.content for turn in self.item.turns]})

    def task(self, engine: str, extra: Mapping[str, Any] | None, endpoint: EndpointModel | None = None) -> RowTask:
        """The row to make; `endpoint` is checked with each reply."""
        if self.character is not None:
            extra = {**(extra or {}), "character": self.character}
        read = endpoint.checked(_read_answer) if endpoint else _read_answer
        return RowTask(self.row_id, engine, self._sampling, partial(self._make, extra=extra, read=read), _failed)

    async def _make(
        self,
        calls: RowCalls,
        *,
        extra: Mapping[str, Any] | None,
        read: Callable[[ChatReply], dict[str, Any]],
    ) -> StoredRow:
        answers: list[str] = []
        usage, content, cut = Usage(), dict[str, Any](), False
        for place in range(self._count):
            content = await calls.record(
                "reply" if not self._own_history else f"turn-{place}",
                self._messages(answers),
                seed=self._seed if place == 0 else seed64(self._seed, place),
                extra=extra,
                read=read,
            )
            usage += Usage.model_validate(content.get("usage", {}))
            if content["status"] != "ok":
                break
            answers.append(content["answer"])
            cut = cut or content["finish_reason"] == TOKEN_LIMIT
        if self._own_history:
            content = content | {"answers": answers, "usage": usage.model_dump()}
            content |= {"finish_reason": TOKEN_LIMIT} if cut else {}
        return StoredRow(content, content["status"])

    def read(self, store: RowReader) -> AnswerRow:
        """The answer as the store holds it."""
        content = store.read(self.row_id)
        answers = content.get("answers", [])
        conversation = [Turn.model_validate(turn) for turn in self._messages(answers[: self._count - 1])]
        return AnswerRow(
            **row_identity(self.suite, self.item),
            model=self.subject.identity,
            repeat=self.repeat,
            status=_status(content),
            conversation=[turn for turn in conversation if turn.role != "system"],
            answer=content.get("answer") if content["status"] == "ok" else None,
            finish_reason=content.get("finish_reason"),
            usage=Usage.model_validate(content.get("usage", {})),
            system_prompt_hash=text_digest(self.system.content) if self.system else None,
            reported_model=content.get("reported_model"),
            note=content.get("note"),
        )

    @property
    def _own_history(self) -> bool:
        return self.suite.config.history == "own" and len(self.item.turns) > 1

    @property
    def _count(self) -> int:
        return len(self.item.turns) if self._own_history else 1

    @property
    def _sampling(self) -> Any:
        return self.suite.config.answer.sampling

    @property
    def _seed(self) -> int:
        repeat = (self.repeat,) if self.repeat else ()
        return seed64(self.seed, "answer", self.item.id, *repeat)

    def _messages(self, answers: Sequence[str]) -> list[Message]:
        """What is sent: up to the turn after the answers so far, where the history is the model's own."""
        turns = [self.system] if self.system else []
        if not self._own_history:
            return [turn.model_dump() for turn in (*turns, *self.item.turns)]
        for place, turn in enumerate(self.item.turns[: len(answers) + 1]):
            turns.append(turn)
            if place < len(answers):
                turns.append(Turn(role="assistant", content=answers[place]))
        return [turn.model_dump() for turn in turns]


def answer_calls(
    suite: Suite, items: Iterable[Item], subject: Subject, prompts: SystemPrompts, seed: int
) -> Iterator[AnswerCalls]:
    """The calls of a model for some of the suite's items."""
    for item in items:
        system, character = prompts.of_item(subject, item), prompts.sent_character(subject, item)
        for repeat in range(suite.config.answer.repeats):
            yield AnswerCalls(subject, suite, item, repeat, system, character, seed)


def _read_answer(reply: ChatReply) -> dict[str, Any]:
    text = reply.text.strip()
    about = {"finish_reason": reply.finish_reason, "usage": reply.usage.model_dump(), "reported_model": reply.model}
    if is_blank(text) or reply.problem:
        return {"status": "empty_answer", "note": reply.detail or reply.problem, **about}
    return {"status": "ok", "answer": text, **about}


def _status(content: Mapping[str, Any]) -> Status:
    """What became of an answer; a server that rejects the question itself will reject it again."""
    if content["status"] == "ok" and content.get("finish_reason") == TOKEN_LIMIT:
        return "truncated"
    if content["status"] == ENGINE_FAILURE and content.get("refused"):
        return "no_answer"
    status: Status = content["status"]
    return status


def _failed(error: ChatFailed) -> StoredRow:
    content = {"status": ENGINE_FAILURE, "note": str(error), "refused": error.refused}
    return StoredRow(content, ENGINE_FAILURE)
