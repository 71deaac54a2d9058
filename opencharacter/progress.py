"""How far long work is: a bar on a terminal, one structured log line per interval elsewhere."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as _RichProgress

LOG_INTERVAL_S = 10.0
"""Seconds between two log lines where there is no terminal."""


_HIDDEN: ContextVar[bool] = ContextVar("hidden", default=False)


@contextmanager
def hidden() -> Iterator[None]:
    """Work inside the block shows no progress."""
    token = _HIDDEN.set(True)
    try:
        yield
    finally:
        _HIDDEN.reset(token)


_waits: list[str] = []


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Work that is shown waits inside the block for something slow, such as the start of a server; any thread."""
    _waits.append(what)
    try:
        yield
    finally:
        _waits.remove(what)


@dataclass
class Progress:
    """Counts of one piece of work. Get one from `progress`; `advance` may be called from any thread."""

    stage: str
    total: int | None
    done_before: int = 0
    """Rows that an earlier run had finished; in the bar, but not in the rates."""
    rows: int = 0
    tokens: int = 0
    errors: int = 0
    _started: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, *, rows: int = 0, tokens: int = 0, errors: int = 0) -> None:
        """Add finished rows, generated tokens and failed rows (which count as rows too)."""
        with self._lock:
            self.rows += rows
            self.tokens += tokens
            self.errors += errors

    def snapshot(self) -> dict[str, Any]:
        """The figures so far: rates per second, remaining time in seconds (none where it cannot be known).

        `waits_for` is there only where something is waited for.
        """
        waits = {"waits_for": ", ".join(dict.fromkeys(_waits))} if _waits else {}
        with self._lock:
            elapsed = max(time.monotonic() - self._started, 1e-6)
            done = self.done_before + self.rows
            rate = self.rows / elapsed
            known = self.total is not None and rate > 0
            return {
                "stage": self.stage,
                "done": done,
                "total": self.total,
                "rows_per_s": round(rate, 3),
                "tokens": self.tokens,
                "tokens_per_s": round(self.tokens / elapsed, 1),
                "errors": self.errors,
                "elapsed_s": round(elapsed, 1),
                "eta_s": round(max(self.total - done, 0) / rate, 1) if known and self.total is not None else None,
                **waits,
            }


class _Display(Protocol):
    def update(self) -> None: ...

    def close(self) -> None: ...


@contextmanager
def progress(
    stage: str,
    *,
    total: int | None = None,
    done: int = 0,
    interval_s: float = LOG_INTERVAL_S,
    stream: TextIO | None = None,
) -> Iterator[Progress]:
    """Show the work inside the block, on standard error unless `stream` is given.

    `total` counts the `done` rows of earlier runs too. The last state is shown also when the block ends by an error.
    """
    out = stream or sys.stderr
    state = Progress(stage, total, done)
    if _HIDDEN.get():
        yield state
        return
    display: _Display = _Bar(state, out) if out.isatty() else _Log(state, out)
    with ExitStack() as cleanup:
        cleanup.callback(display.close)
        cleanup.enter_context(_ticking(display, 0.25 if isinstance(display, _Bar) else interval_s))
        yield state


@contextmanager
def _ticking(display: _Display, interval_s: float) -> Iterator[None]:
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(interval_s):
            display.update()

    thread = threading.Thread(target=tick, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Log:
    def __init__(self, state: Progress, out: TextIO) -> None:
        self._state = state
        self._out = out

    def update(self) -> None:
        self._write(final=False)

    def close(self) -> None:
        self._write(final=True)

    def _write(self, *, final: bool) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"time": now, "event": "progress", **self._state.snapshot(), "final": final}
        self._out.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._out.flush()


class _Bar:
    def __init__(self, state: Progress, out: TextIO) -> None:
        self._state = state
        self._bar = _rich_bar(out)
        self._task = self._bar.add_task(
            state.stage, total=state.total, completed=state.done_before, rate=0.0, tokens=0.0, errors=0
        )
        self._bar.start()

    def update(self) -> None:
        figures = self._state.snapshot()
        waits = figures.get("waits_for")
        self._bar.update(
            self._task,
            description=f"{self._state.stage} (waits for {waits})" if waits else self._state.stage,
            completed=figures["done"],
            rate=figures["rows_per_s"],
            tokens=figures["tokens_per_s"],
            errors=figures["errors"],
        )

    def close(self) -> None:
        self.update()
        self._bar.stop()


def _rich_bar(out: TextIO) -> "_RichProgress":
    from rich import progress as rich_progress
    from rich.console import Console

    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]:.2f} rows/s  {task.fields[tokens]:.0f} tok/s"),
        rich_progress.TextColumn("{task.fields[errors]} errors"),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("ETA"),
        rich_progress.TimeRemainingColumn(),
        console=Console(file=out),
    )
