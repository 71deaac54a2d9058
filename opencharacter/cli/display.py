"""What a local run shows: one line a stage, and below it the bar of the work under way."""

import json
import re
import time
from typing import Any

_NOISE = re.compile(r"\x1b\[[0-9;]*m")
_CACHED = re.compile(r"Task '?([a-z-]+)'? cache hit")


def progress_text(event: dict[str, Any]) -> str:
    """A progress event of `opencharacter.progress` in a short line."""
    parts = [f"{event.get('stage')} {event.get('done')}/{event.get('total') or '?'}"]
    if event.get("tokens_per_s"):
        parts.append(f"{event['tokens_per_s']:.0f} tok/s")
    if event.get("errors"):
        parts.append(f"{event['errors']} errors")
    if event.get("eta_s") is not None:
        parts.append(f"{event['eta_s']:.0f} s left")
    return " · ".join(parts)


class RunDisplay:
    """Turns the pipeline's output lines into stage lines; give `line` to the local runner.

    On a terminal the present progress is redrawn in place; elsewhere a progress line is printed as it comes.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._started: dict[str, float] = {}
        self._status: Any = None

    def __enter__(self) -> "RunDisplay":
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def note(self, text: str) -> None:
        """Print a line of the launcher's own."""
        self._console.print(text, markup=False)

    def line(self, raw: str) -> None:
        """Take one line of the pipeline's output."""
        text = _NOISE.sub("", raw).strip()
        if cached := _CACHED.search(text):
            self._console.print(f"[green]✓[/] {cached[1]:12} [dim]unchanged[/]")
            return
        if not text.startswith("{"):
            return
        try:
            event = json.loads(text)
        except ValueError:
            return
        match event.get("event"):
            case "step_started":
                self._started[event["step"]] = time.monotonic()
                self._show(f"{event['step']} …")
            case "step_output":
                self._finished(event)
            case "progress":
                self._show(progress_text(event))

    def _finished(self, event: dict[str, Any]) -> None:
        seconds = time.monotonic() - self._started.get(event["step"], time.monotonic())
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in event["counts"].items() if count)
        self._console.print(
            f"[green]✓[/] {event['step']:12} [dim]{event['kind']:12}[/] {seconds:6.1f} s  ", end="", soft_wrap=True
        )
        self._console.print(counts, markup=False, soft_wrap=True)

    def _show(self, text: str) -> None:
        if self._status:
            self._status.update(text)
        else:
            self._console.print(f"  {text}", markup=False)
