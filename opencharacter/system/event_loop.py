"""Running a coroutine from ordinary code, also while an event loop is running, as in a notebook."""

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_coroutine(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end and return its result, like `asyncio.run`.

    If the calling thread runs an event loop, the coroutine runs on a separate loop in another thread, and the call
    blocks until it ends. Ctrl-C cancels it in both cases.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    return _ThreadRun(coroutine).result()


class _ThreadRun:
    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._started = threading.Event()
        self._outcome: Any = None
        self._error: BaseException | None = None

    def result(self) -> Any:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._run,), name="opencharacter-coroutine")
        thread.start()
        try:
            thread.join()
        except BaseException:
            self._started.wait()
            if self._loop is not None and self._task is not None:
                self._loop.call_soon_threadsafe(self._task.cancel)
            thread.join()
            raise
        if self._error is not None:
            raise self._error
        return self._outcome

    def _run(self) -> None:
        async def main() -> Any:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            self._started.set()
            return await self._coroutine

        try:
            self._outcome = asyncio.run(main())
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()
