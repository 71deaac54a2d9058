"""The calls of a judge as rows of the store: made once, read by whoever waits for them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from opencharacter.engines import ChatFailed
from opencharacter.evaluation.endpoint_models import ChangedBehindNameError, EndpointModel, read_endpoint_model
from opencharacter.evaluation.measures.protocol import ASKED_AGAIN, Asking, JudgeCall
from opencharacter.evaluation.servers import Servers, fair_request
from opencharacter.evaluation.subjects import Judge
from opencharacter.generation.calls import RowCalls
from opencharacter.generation.rows import RowTask, StoredRow, make_rows
from opencharacter.records.evaluation import ENGINE_FAILURE, is_final
from opencharacter.storage.rowstore import RowStore, open_rows
from opencharacter.storage.workspace import Workspace
from opencharacter.system.event_loop import run_coroutine

T = TypeVar("T")


def ask_judge(
    asking: Callable[[Judge], Asking[T]], judge: Judge, *, workspace: Workspace, store: str = "evaluation"
) -> T:
    """Reply to what is asked of a judge, outside a run of suites. Finished calls are reused.

    Args:
        asking: Makes what is asked of a judge (see `measures.protocol`); once more if the judge turns out to have
            changed behind its name.
        judge: Who is asked.
        workspace: Where the calls are kept.
        store: The row store of the calls.

    Returns:
        What the asking returns.

    Raises:
        EngineDown: The judge cannot be reached; what is finished is kept.
    """

    async def work() -> T:
        async with open_rows(workspace.rows(store), is_final=is_final) as rows, Servers() as servers:
            endpoint = None
            if judge.engine.base_url is not None:
                endpoint = read_endpoint_model(rows, judge.address, judge.identity)
            while True:
                known = replace(judge, address=endpoint.address) if endpoint else judge
                try:
                    return await _reply_to(asking(known), judge, endpoint, rows, servers)
                except ChangedBehindNameError:
                    continue

    return run_coroutine(work())


async def _reply_to(
    asking: Asking[T], judge: Judge, endpoint: EndpointModel | None, rows: RowStore, servers: "Servers"
) -> T:
    replies: list[dict[str, Any]] | None = None
    while True:
        try:
            requests = next(asking) if replies is None else asking.send(replies)
        except StopIteration as end:
            result: T = end.value
            return result
        calls = [request for request in requests if isinstance(request, JudgeCall)]
        engine = await servers.open(judge.engine)
        tasks = (judge_task(call, judge, endpoint) for call in calls)
        try:
            await make_rows(rows, tasks, {judge.engine.model: engine}, what=f"judgements of {judge.name}")
        finally:
            if endpoint is not None:
                await endpoint.save(rows)
        replies = [rows.read(call.content.row_id) for call in calls]


def judge_task(call: JudgeCall, judge: Judge, endpoint: EndpointModel | None) -> RowTask:
    """A call of a judge as a row."""
    extra = fair_request(judge.engine)
    read = endpoint.checked(call.read) if endpoint else call.read

    async def make(calls: RowCalls) -> StoredRow:
        content = await calls.record("reply", call.messages, seed=call.seed, schema=call.schema, extra=extra, read=read)
        return StoredRow(content, content["status"])

    return RowTask(call.content.row_id, judge.engine.model, call.sampling, make, _failed)


def is_unusable(call: JudgeCall, attempt: int, store: RowStore) -> bool:
    """Whether the judge's reply at an attempt, and those before, cannot be used."""
    return all(store.read(call.attempt(n).content.row_id)["status"] in ASKED_AGAIN for n in range(1, attempt + 1))


def _failed(error: ChatFailed) -> StoredRow:
    return StoredRow({"status": ENGINE_FAILURE, "note": str(error)}, ENGINE_FAILURE)
