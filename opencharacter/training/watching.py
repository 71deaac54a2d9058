"""Following what training processes print: progress to the display, the end of their log kept, their failure noted."""

import logging
from collections import deque
from contextlib import ExitStack
from types import TracebackType

from opencharacter.progress import Progress, progress
from opencharacter.training.job import Event

_log = logging.getLogger(__name__)

_TAIL_LINES = 25


class Watcher:
    """Takes lines, wherever they come from. A context: the progress display ends with it."""

    def __init__(self, *, show: bool = True) -> None:
        """`show`: draw progress and log warnings here, not only remember."""
        self.failure: Event | None = None
        """The first failure that a process has named."""
        self._show = show
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._bar: Progress | None = None
        self._display = ExitStack()

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()

    @property
    def tail(self) -> str:
        """The last lines that were no events."""
        return "".join(self._lines)

    def feed(self, line: str) -> bool:
        """Take a line, line feed included. Says whether it belongs into a log: whether it is no event."""
        event = Event.parse(line)
        if event is None:
            self._lines.append(line)
            return True
        if event.kind == "failure":
            self.failure = self.failure or event
        elif self._show and event.kind == "warning":
            _log.warning(event.message)
        elif self._show:
            self._advance(event)
        return False

    def _advance(self, event: Event) -> None:
        if self._bar is None:
            self._bar = self._display.enter_context(progress("training", total=event.total_steps, done=event.step))
        # After a restart within a job, steps are done again.
        fresh = max(0, event.step - self._bar.done_before - self._bar.rows)
        self._bar.advance(rows=fresh, tokens=event.tokens)
        if event.loss is not None:
            _log.info("step %d of %d: loss %.4f", event.step, event.total_steps, event.loss)
