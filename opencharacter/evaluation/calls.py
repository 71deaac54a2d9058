"""Rows of the store that take one LLM call each: asked once, kept durably, read back for ever."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from opencharacter.engines import ChatFailed, ChatReply, EngineConfig, Sampling, open_engine, run_bounded
from opencharacter.hashing import digest
from opencharacter.progress import progress
from opencharacter.records.models import Usage
from opencharacter.storage.rowstore import RowStore

FAILED = "engine_failure"


@dataclass(frozen=True)
class Call:
    """A call whose outcome depends on these fields and on `model` alone."""

    model: str
    """Who is asked: a digest of weights, or the name of a served model."""
    messages: list[dict[str, str]]
    sampling: Sampling
    seed: int
    schema: dict[str, Any] | None = None

    @property
    def row_id(self) -> str:
        """Content address of the outcome."""
        return digest(
            {
                "model": self.model,
                "messages": self.messages,
                "sampling": self.sampling.model_dump(),
                "seed": self.seed,
                "schema": self.schema,
            }
        )


def is_final(label: str) -> bool:
    """Whether a stored row (labelled by its status) is done with; a call that failed in transit is made again."""
    return label != FAILED


async def ask_all(
    title: str,
    engine_config: EngineConfig,
    calls: Iterable[Call],
    store: RowStore,
    read: Callable[[ChatReply], dict[str, Any]],
) -> Usage:
    """Make the calls that the store does not hold, and return what they used.

    `read` turns a reply into the row's content, whose `status` is the row's label. A call that fails for good leaves a
    row of status `engine_failure`. Raises `EngineDown` if the server is gone.
    """
    todo = {call.row_id: call for call in calls if not store.finished(call.row_id)}
    if not todo:
        return Usage()
    async with open_engine(engine_config) as engine:

        async def make(row_id: str) -> Usage:
            call = todo[row_id]
            content, usage = store.calls(row_id).get("reply"), Usage()
            if content is None:
                try:
                    reply = await engine.chat(call.messages, call.sampling, seed=call.seed, json_schema=call.schema)
                except ChatFailed as error:
                    await store.finish(row_id, {"status": FAILED, "note": str(error)}, label=FAILED)
                    raise
                content, usage = read(reply), reply.usage
                await store.record(row_id, "reply", content)
            await store.finish(row_id, content, label=content["status"])
            return usage

        with progress(title, total=len(todo)) as bar:
            await run_bounded(make, todo, limit=engine_config.concurrency, bar=bar)
        return engine.usage
