"""pytest's side of the acceptance suite: who is skipped and why, the order, the evidence, the table."""

import os
from collections.abc import Callable, Generator

import pytest
from support.acceptance.progress import say_with
from support.acceptance.promises import Promises, promise_of
from support.acceptance.settings import PREFIX, Need, Settings

from opencharacter.errors import UserError

NEEDS: tuple[Need, ...] = ("cluster", "images", "store", "pipelines")
ORDER = (
    "test_before_a_run",
    "test_chart",
    "test_failures",
    "test_pipeline",
    "test_serving",
    "test_cache",
    "test_promotion",
    "test_training",
    "test_production",
    "test_network",
    "test_security",
)
"""The long run is started by the first file, and goes on while the next two are at work."""


def settings_or_exit() -> Settings:
    """The environment's settings; pytest ends with exit code 2 where they make no sense."""
    try:
        return Settings.from_environment(os.environ)
    except UserError as error:
        raise pytest.UsageError(f"{error}\n{error.hint}") from error


def order(items: list[pytest.Item]) -> None:
    """Sort test files as `ORDER` says; the tests of a file keep their order."""
    known = {name: place for place, name in enumerate(ORDER)}
    items.sort(key=lambda item: known.get(item.path.stem, len(known)))


def skip_all_in_one_line(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where no variable is set: one skipped test that says what is missing, in place of all."""
    first, rest = items[:1], items[1:]
    reason = f"no cluster is named, so {len(items)} promises are not checked: set {PREFIX}NAMESPACE and others, see "
    for item in first:
        item.add_marker(pytest.mark.skip(reason=f"{reason}tests/cluster/README.md"))
    items[:] = first
    if rest:
        config.hook.pytest_deselected(items=rest)


def skip_what_cannot_run(items: list[pytest.Item], settings: Settings) -> None:
    """Skip each test for whose needs a variable is missing."""
    lacks = {need: settings.missing(need, os.environ) for need in NEEDS}
    for item in items:
        named = {need for mark in item.iter_markers("needs") for need in mark.args}
        missing = [line for need in NEEDS if need in named for line in lacks[need]]
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"not set: {', '.join(missing)}"))


class Reporter:
    """Collects outcomes, attaches evidence to failures, and prints the table."""

    def __init__(self) -> None:
        self.promises = Promises()
        self.evidence: Callable[[], str] | None = None
        """What the running session knows of the cluster; none before it has begun."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note a phase of a test; let a failure say what the cluster shows at this moment."""
        report = yield
        if report.failed and self.evidence:
            report.sections.append(("what the cluster shows", self.evidence()))
        if report.when == "call" or report.outcome != "passed" or report.duration:
            self.promises.add(item.nodeid, promise_of(item.obj), report)  # type: ignore[attr-defined]
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        lines = self.promises.lines()
        if lines:
            terminalreporter.section("promises")
            for line in lines:
                terminalreporter.write_line(line)


def speak_past_capture(config: pytest.Config) -> None:
    """Let progress lines reach the terminal while a test runs."""
    capture = config.pluginmanager.getplugin("capturemanager")
    terminal = config.pluginmanager.getplugin("terminalreporter")

    def write(line: str) -> None:
        with capture.global_and_fixture_disabled():
            terminal.write_line(line)

    if capture and terminal:
        say_with(write)
