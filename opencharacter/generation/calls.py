"""The LLM calls of one row: asked once, journalled, and from then on read back."""

from pydantic import BaseModel

from opencharacter.engines import ChatEngine, ChatFailed, Sampling
from opencharacter.generation.replies import Unusable
from opencharacter.hashing import seed64
from opencharacter.records.models import Usage
from opencharacter.storage.rowstore import RowStore

Message = dict[str, str]


class Reply(BaseModel):
    """An answer as the journal keeps it."""

    text: str
    finish_reason: str | None
    usage: Usage

    @property
    def cut_off(self) -> bool:
        """Whether the answer ended at `max_tokens`."""
        return self.finish_reason == "length"


class RowCalls:
    """Asks for one row. `usage` sums its calls, `made` counts those of this run, `reused` those of earlier ones."""

    def __init__(self, store: RowStore, engine: ChatEngine, row_id: str, sampling: Sampling, seed: int) -> None:
        self._store = store
        self._engine = engine
        self._row_id = row_id
        self._sampling = sampling
        self._seed = seed
        self._earlier = store.calls(row_id)
        self.usage = Usage()
        self.made = Usage()
        self.reused = 0

    async def ask(self, key: str, messages: list[Message], *, schema: dict[str, object] | None = None) -> Reply:
        """The answer to the call `key` of this row; the sampling seed depends on run seed, row and key.

        Raises `Unusable("refused_by_server")` if the server refuses the request itself (too long for the model, say);
        `ChatFailed` and `EngineDown` leave the row to a later run.
        """
        if key in self._earlier:
            reply = Reply.model_validate(self._earlier[key])
            self.reused += 1
        else:
            reply = await self._ask(key, messages, schema)
            await self._store.record(self._row_id, key, reply.model_dump())
            self.made += reply.usage
        self.usage += reply.usage
        return reply

    async def _ask(self, key: str, messages: list[Message], schema: dict[str, object] | None) -> Reply:
        seed = seed64(self._seed, self._row_id, key)
        try:
            said = await self._engine.chat(messages, self._sampling, seed=seed, json_schema=schema)
        except ChatFailed as error:
            if error.refused:
                raise Unusable("refused_by_server", str(error)) from error
            raise
        return Reply(text=said.text, finish_reason=said.finish_reason, usage=said.usage)
