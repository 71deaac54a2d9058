"""The table at the end of the acceptance suite: each promise, how it went, how long it took, and why it failed."""

import inspect
from dataclasses import dataclass
from typing import Any

_ORDER = {"passed": 0, "skipped": 1, "failed": 2}


@dataclass
class Promise:
    """One test's outcome. `seconds` holds its preparation too."""

    text: str
    result: str = "passed"
    seconds: float = 0.0
    reason: str = ""

    def add(self, result: str, seconds: float, reason: str) -> None:
        """Take in a phase of the test: setup, call or teardown. The worst result stays."""
        self.seconds += seconds
        if _ORDER[result] > _ORDER[self.result]:
            self.result, self.reason = result, reason


class Promises:
    """The outcomes so far, in the order of the tests."""

    def __init__(self) -> None:
        self._found: dict[str, Promise] = {}

    def add(self, name: str, text: str, report: Any) -> None:
        """Take in a pytest report of the test `name`."""
        promise = self._found.setdefault(name, Promise(text))
        promise.add(report.outcome, report.duration, _reason(report))

    def lines(self) -> list[str]:
        """The table as text, one line a promise, and a line of totals."""
        if not self._found:
            return []
        width = max(len(promise.text) for promise in self._found.values())
        rows = [
            f"{promise.text:{width}}  {promise.result:7}  {promise.seconds:6.0f} s  {promise.reason}".rstrip()
            for promise in self._found.values()
        ]
        counts = {result: sum(promise.result == result for promise in self._found.values()) for result in _ORDER}
        total = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
        return [f"{'promise':{width}}  result   seconds   reason", *rows, total]


def promise_of(function: Any) -> str:
    """What a test promises: the first line of its docstring."""
    text = inspect.getdoc(function)
    if not text:
        raise ValueError(f"{function.__qualname__}: a test of this suite says in its docstring what it promises")
    return text.splitlines()[0].rstrip(".")


def _reason(report: Any) -> str:
    if report.outcome == "passed":
        return ""
    if report.outcome == "skipped":
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        return str(text).removeprefix("Skipped: ").splitlines()[0]
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "no reason given"
