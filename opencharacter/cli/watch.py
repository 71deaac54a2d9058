"""What `opencharacter pipeline watch` shows: each step as it is, and at the end how the run went."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from opencharacter.cli.display import progress_text
from opencharacter.cli.run import outcome as report_lines

if TYPE_CHECKING:
    from opencharacter.pipelines.watch.follow import Look
    from opencharacter.pipelines.watch.outcome import Outcome
    from opencharacter.pipelines.watch.steps import Step

_COLOURS = {"running": "cyan", "cached": "green", "succeeded": "green", "failed": "red", "cancelled": "red"}
_SUMMED_UP = 4
"""A step of more shards has one line on a terminal."""
_QUIET_S = 30
"""Seconds between two lines of one step's progress where there is no terminal."""
_CODES = {"SUCCEEDED": 0}


def watch_run(host: str, run_id: str, *, token: str | None, namespace: str | None, every: float) -> int:
    """Show a run until it has ended; returns its exit code, or 130 after Ctrl-C, which leaves the run going."""
    from opencharacter.errors import UserError
    from opencharacter.pipelines.watch.follow import follow
    from opencharacter.pipelines.watch.outcome import outcome_of
    from opencharacter.pipelines.watch.pods import Pods
    from opencharacter.pipelines.watch.server import RunServer, Unanswered

    try:
        server = RunServer(host, run_id, token=token)
        try:
            first = server.run()
        except Unanswered as error:
            raise UserError(
                f"no Kubeflow Pipelines server answers at {host}: {error}",
                hint="is it the API's address? Try: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80",
            ) from error
        with Pods(server, namespace or server.namespace(first)) as pods:
            with _Display(first.get("display_name") or run_id) as display:
                for seen in follow(server, pods, every=every, first=first):
                    if isinstance(seen, str):
                        display.note(seen)
                    else:
                        display.show(seen)
                        last = seen
            for line in _ending(last, outcome_of(last.run, last.steps, pods)):
                typer.echo(line)
        typer.echo(server.page)
    except KeyboardInterrupt:
        typer.echo(
            f"\nno longer watched; the run goes on: opencharacter pipeline watch {run_id} --host {host}", err=True
        )
        return 130
    return _CODES.get(last.state, 1)


class _Display:
    """A table that is redrawn on a terminal; elsewhere a line for each change."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._name = name
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._told: dict[str, str] = {}
        self._told_at: dict[str, float] = {}

    def __enter__(self) -> "_Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def note(self, text: str) -> None:
        """Print a line of the watcher's own."""
        self._console.print(text, markup=False, soft_wrap=True)

    def show(self, look: "Look") -> None:
        """Show the run as it is now."""
        if self._live:
            self._live.update(self._table(look), refresh=True)
            return
        for step in look.steps:
            if step.state != "waiting" or step.label in look.trouble:
                spent = "" if step.state == "running" else _time(step)
                self._say_change(step, " · ".join(filter(None, (_detail(step, look), spent))))

    def _say_change(self, step: "Step", detail: str) -> None:
        line = f"{step.label:14} {step.state:10} {detail}".rstrip()
        known, now = self._told.get(step.label, ""), time.monotonic()
        if line == known:
            return
        same_state, detailed = known.split()[1:2] == [step.state], len(known.split()) > 2
        if same_state and detailed and now - self._told_at[step.label] < _QUIET_S:
            return
        self._told[step.label], self._told_at[step.label] = line, now
        self._console.print(line, markup=False, soft_wrap=True)

    def _table(self, look: "Look") -> Any:
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, pad_edge=False, title=f"{escape(self._name)}: {look.state.lower()}")
        for heading in ("step", "state", "time", ""):
            table.add_column(heading, no_wrap=heading != "")
        for label, state, seconds, detail in _rows(look):
            colour = _COLOURS.get(state.split()[0], "dim")
            table.add_row(escape(label), f"[{colour}]{state}[/]", seconds, escape(detail))
        return table


def _rows(look: "Look") -> Iterator[tuple[str, str, str, str]]:
    for name, group in groupby(look.steps, key=lambda step: step.name):
        steps = list(group)
        if len(steps) <= _SUMMED_UP:
            yield from ((step.label, step.state, _time(step), _detail(step, look)) for step in steps)
            continue
        counts = {state: sum(step.state == state for step in steps) for state in dict.fromkeys(s.state for s in steps)}
        first = next((state for state in ("failed", "running", "waiting") if state in counts), steps[0].state)
        shown = ", ".join(f"{count} {state}" for state, count in counts.items())
        detail = next((found for step in steps if step.state == first and (found := _detail(step, look))), "")
        yield name, first, "", " · ".join(filter(None, (shown, detail)))


def _detail(step: "Step", look: "Look") -> str:
    parts = [f"attempt {step.attempt}"] if step.attempt > 1 else []
    if event := look.progress.get(step.label):
        parts.append(progress_text(event))
    if trouble := look.trouble.get(step.label):
        parts.append(trouble)
    return " · ".join(parts)


def _time(step: "Step") -> str:
    if step.state == "running" and step.started:
        return _span((datetime.now(UTC) - step.started).total_seconds())
    return _span(step.seconds) if step.state in ("succeeded", "failed") and step.seconds is not None else ""


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(int(seconds), 0), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


def _ending(look: "Look", outcome: "Outcome") -> Iterator[str]:
    state = {"CANCELED": "was cancelled"}.get(look.state, look.state.lower())
    yield f"run {look.run['run_id']} {state}"
    for failure in outcome.failures:
        if failure.message:
            first, *rest = failure.message.splitlines()
            yield f"error: step '{failure.step.label}': {first}"
            yield from (f"  {line.strip()}" for line in rest)
        elif failure.killed:
            yield f"error: step '{failure.step.label}' was ended from outside and left no error"
            yield "  for example by an eviction, a lost node or too little memory; its pod does not say"
        else:
            yield f"error: step '{failure.step.label}' failed; its own error could not be read"
        if failure.hint:
            yield f"  {failure.hint}"
    if look.state == "FAILED" and not outcome.failures:
        words = (look.run.get("error") or {}).get("message")
        yield f"error: {words or 'no step has failed; the page of the run may say more'}"
    if outcome.inputs:
        yield from report_lines(outcome.inputs)
    elif outcome.version:
        yield f"model:  {outcome.version}"
    if outcome.report:
        yield f"report: {outcome.report}"
    yield from (f"not read: {what}" for what in outcome.unread)
