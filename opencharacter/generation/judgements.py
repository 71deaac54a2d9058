"""Calls that are rows of their own, and what a judge replies: for evaluation and for the quality stage.

The address of such a row is the call's whole content, so that whoever asks the same again reads the stored reply.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from opencharacter.engines import ChatEngine, ChatFailed, ChatReply, EngineConfig, Sampling
from opencharacter.generation.calls import Message, RowCalls
from opencharacter.generation.errors import Unusable
from opencharacter.generation.replies import read_object
from opencharacter.generation.rows import RowTask, StoredRow, config_of, make_rows
from opencharacter.hashing import digest
from opencharacter.records.models import Usage
from opencharacter.storage.rowstore import RowStore


class _Judgement(BaseModel):
    """What the judge replies; its JSON schema goes to the server."""

    # A limit for the server only: a small judge would else talk until its reply is cut off before the score.
    reason: str = Field(json_schema_extra={"maxLength": 200})
    score: int = Field(ge=1, le=5)


class _Scored(BaseModel):
    """The same for any scale."""

    reason: str
    score: int


# Name and docstring of the class are in it, and so in the addresses of stored judgements.
JUDGEMENT_SCHEMA: dict[str, Any] = _Judgement.model_json_schema()


def judgement_schema(low: int = 1, high: int = 5) -> dict[str, Any]:
    """The JSON schema of a judge's reply with scores from `low` to `high`."""
    score = JUDGEMENT_SCHEMA["properties"]["score"] | {"minimum": low, "maximum": high}
    return JUDGEMENT_SCHEMA | {"properties": JUDGEMENT_SCHEMA["properties"] | {"score": score}}


def judgement_reader(low: int = 1, high: int = 5) -> Callable[[ChatReply], dict[str, Any]]:
    """`read_judgement` for scores from `low` to `high`."""
    return partial(read_judgement, low=low, high=high)


@dataclass(frozen=True)
class ContentCall:
    """A call whose outcome depends on these fields alone."""

    model: str
    """Who is asked: a digest of weights, or the name of a served model."""
    messages: list[Message]
    sampling: Sampling
    seed: int
    schema: dict[str, Any] | None = None

    @cached_property
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


async def make_calls(
    calls: Iterable[ContentCall],
    engine: EngineConfig | ChatEngine,
    store: RowStore,
    read: Callable[[ChatReply], dict[str, Any]],
    *,
    what: str,
    on_failure: Callable[[ChatFailed], StoredRow],
    extra: Mapping[str, Any] | None = None,
) -> Usage:
    """Make the calls that the store does not hold, each as a row, and return what they used.

    `read` turns a reply into the row's content, whose `status` is the row's label; `on_failure` makes the row of a call
    that failed. `extra` holds fields of the request that the server is known to take. Raises `EngineDown` if the server
    is gone.
    """
    name = config_of(engine).model

    def task(call: ContentCall) -> RowTask:
        async def make(calls: RowCalls) -> StoredRow:
            content = await calls.record(
                "reply", call.messages, seed=call.seed, schema=call.schema, extra=extra, read=read
            )
            return StoredRow(content, content["status"])

        return RowTask(call.row_id, name, call.sampling, make, on_failure)

    return (await make_rows(store, map(task, calls), {name: engine}, what=what)).made


def read_judgement(reply: ChatReply, *, low: int = 1, high: int = 5) -> dict[str, Any]:
    """Status `ok` with `score` and `note`; `refusal` or `parse_failure` with the reply as `note`."""
    try:
        judgement = _Scored.model_validate(read_object(reply.text))
        if not low <= judgement.score <= high:
            raise Unusable("off_scale")
    except (Unusable, ValidationError) as error:
        refused = reply.problem == "refusal" or (isinstance(error, Unusable) and error.reason == "refusal")
        note = reply.text or reply.detail or reply.problem or ""
        return {"status": "refusal" if refused else "parse_failure", "note": note}
    return {"status": "ok", "score": judgement.score, "note": judgement.reason}
