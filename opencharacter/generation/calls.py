"""The LLM calls of one row: made once, recorded in the journal, and read back from then on."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from opencharacter.engines import ChatEngine, ChatFailed, ChatReply, Sampling
from opencharacter.engines.replicas import Seat
from opencharacter.engines.replies import Problem, clean_text
from opencharacter.generation.errors import Unusable
from opencharacter.hashing import seed64
from opencharacter.records.models import Usage
from opencharacter.storage.rowstore import RowStore

Message = dict[str, str]


class Reply(BaseModel):
    """A reply as the journal keeps it."""

    text: str
    finish_reason: str | None
    usage: Usage
    structured: bool = True
    """Whether the server was held to the call's JSON schema. Journals of version 0.1 do not say."""
    problem: Problem | None = None
    detail: str = ""

    @property
    def cut_off(self) -> bool:
        """Whether the reply ended at `max_tokens`."""
        return self.finish_reason == "length"


class RowCalls:
    """Makes the calls of one row.

    `usage` sums all calls of `ask`, `made` the calls of this run; `reused` counts the calls of earlier runs.
    """

    def __init__(
        self,
        store: RowStore,
        engine: ChatEngine,
        row_id: str,
        sampling: Sampling,
        seed: int,
        seat: Seat | None = None,
    ) -> None:
        self._store = store
        self._engine = engine
        self._row_id = row_id
        self._sampling = sampling
        self._seed = seed
        self._seat = seat
        self._recorded = store.calls(row_id)
        self.usage = Usage()
        self.made = Usage()
        self.reused = 0

    async def ask(
        self,
        key: str,
        messages: list[Message],
        *,
        schema: dict[str, object] | None = None,
        max_tokens: int | None = None,
    ) -> Reply:
        """The reply to the call `key` of this row; the sampling seed depends on run seed, row and key.

        `max_tokens` takes the place of the sampling's.
        Raises `Unusable` if the reply holds no answer, or the server rejects the request itself (too long for the
        model, for example); `ChatFailed` and `EngineDown` leave the row to a later run.
        """
        seed = seed64(self._seed, self._row_id, key)
        try:
            payload = await self.record(key, messages, seed=seed, schema=schema, max_tokens=max_tokens, read=_as_reply)
            reply = Reply.model_validate(payload)
        except ChatFailed as error:
            if error.reason is not None:
                raise Unusable(error.reason, str(error), final=error.refused) from error
            raise
        self.usage += reply.usage
        # An earlier version kept thoughts in the text.
        text, problem = clean_text(reply.text, reply.finish_reason)
        if problem := reply.problem or problem:
            raise Unusable(problem, reply.detail)
        return reply.model_copy(update={"text": text})

    async def record(
        self,
        key: str,
        messages: list[Message],
        *,
        seed: int,
        schema: dict[str, object] | None = None,
        max_tokens: int | None = None,
        extra: Mapping[str, Any] | None = None,
        read: Callable[[ChatReply], dict[str, Any]],
    ) -> dict[str, Any]:
        """What the journal keeps of the call `key`: `read` of its reply. Raises `ChatFailed` and `EngineDown`.

        `extra` holds fields of the request that the server is known to take.
        """
        if key in self._recorded:
            self.reused += 1
            return self._recorded[key]
        reply = await self._engine.chat(
            messages,
            self._sampling,
            seed=seed,
            json_schema=schema,
            max_tokens=max_tokens,
            extra=extra,
            seat=self._seat,
        )
        payload = read(reply)
        await self._store.record(self._row_id, key, payload)
        self.made += reply.usage
        return payload


def _as_reply(reply: ChatReply) -> dict[str, Any]:
    payload = Reply(
        text=reply.text, finish_reason=reply.finish_reason, usage=reply.usage, structured=reply.structured
    ).model_dump(exclude={"problem", "detail"})
    return payload | ({"problem": reply.problem, "detail": reply.detail} if reply.problem else {})
