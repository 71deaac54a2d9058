"""Many rows through one engine: bounded concurrency over a stream of items of any length."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from opencharacter.engines.chat import ChatFailed, EngineDown
from opencharacter.progress import Progress
from opencharacter.records.models import Usage

Item = TypeVar("Item")


@dataclass
class Tally:
    """How the items of `run_bounded` ended."""

    done: int = 0
    failed: int = 0
    last_error: ChatFailed | None = None


async def run_bounded(
    work: Callable[[Item], Awaitable[Usage | None]],
    items: Iterable[Item],
    *,
    limit: int,
    room: Callable[[], Awaitable[None]] | None = None,
    bar: Progress | None = None,
) -> Tally:
    """Await `work(item)` for every item, at most `limit` at once; the next item is taken when one ends.

    With `room`, that is awaited before an item is taken: `ChatEngine.room` for work that calls an engine.
    `work` does its own journalling and returns what it used, for the bar. An item whose work raises `ChatFailed` is
    counted as failed and the rest goes on; any other error, and a cancellation, cancels the work under way, waits
    until it has ended, and is raised. `EngineDown` of a server that still answers waits for the answers under way.
    """
    stream = iter(items)
    tally = Tally()

    async def worker() -> None:
        while True:
            if room is not None:
                await room()
            try:
                item = next(stream)
            except StopIteration:
                return
            errors, tokens = 0, 0
            try:
                usage = await work(item)
            except ChatFailed as error:
                tally.failed += 1
                tally.last_error = error
                errors = 1
            else:
                tally.done += 1
                tokens = usage.completion_tokens if usage else 0
            if bar is not None:
                bar.advance(rows=1, tokens=tokens, errors=errors)

    workers = [asyncio.create_task(worker()) for _ in range(limit)]
    try:
        ended, going_on = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        if going_on and any(_still_answers(task.exception()) for task in ended):
            await asyncio.wait(going_on)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    for task in workers:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    return tally


def _still_answers(error: BaseException | None) -> bool:
    return isinstance(error, EngineDown) and error.answers
