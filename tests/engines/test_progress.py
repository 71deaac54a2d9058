import io
import json
import threading

import pytest

from opencharacter.progress import Progress, progress, waiting_for


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Lines(io.StringIO):
    """A stream that tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


def test_log_lines_come_at_intervals_and_at_the_end() -> None:
    out = _Lines()
    with progress("rewrite", total=12, done=2, interval_s=0.01, stream=out) as bar:
        bar.advance(rows=4, tokens=100, errors=1)
        assert out.written.wait(10)
        bar.advance(rows=6)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["final"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert len(lines) > 1
    last = lines[-1]
    assert (last["event"], last["stage"], last["done"], last["total"]) == ("progress", "rewrite", 12, 12)
    assert (last["tokens"], last["errors"], last["eta_s"]) == (100, 1, 0)
    assert last["tokens_per_s"] > 0


def test_rows_of_an_earlier_run_do_not_count_as_speed() -> None:
    state = Progress("rewrite", total=2000, done_before=1000)
    state._started -= 10
    state.advance(rows=10)
    figures = state.snapshot()
    assert figures["done"] == 1010
    assert figures["rows_per_s"] == pytest.approx(1, rel=0.05)
    assert figures["eta_s"] == pytest.approx(990, rel=0.05)


def test_the_last_line_comes_also_after_an_error() -> None:
    out = io.StringIO()

    def interrupted() -> None:
        with progress("profiles", stream=out) as bar:
            bar.advance(rows=3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert json.loads(out.getvalue())["done"] == 3
    assert json.loads(out.getvalue())["eta_s"] is None


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    out = _Terminal()
    with progress("profiles", total=4, stream=out) as bar:
        bar.advance(rows=3, tokens=90, errors=1)
    text = out.getvalue()
    assert "profiles" in text
    assert "3/4" in text
    assert "tok/s" in text
    assert "1 errors" in text
    assert "ETA" in text


def test_what_the_work_waits_for_is_said_while_it_does() -> None:
    out = io.StringIO()
    with waiting_for("the start of vLLM"), progress("answers", stream=out, interval_s=60):
        pass
    with progress("answers", stream=out, interval_s=60):
        pass
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first["waits_for"] == "the start of vLLM"
    assert "waits_for" not in second
    terminal = _Terminal()
    with waiting_for("the start of vLLM"), progress("answers", stream=terminal):
        pass
    assert "answers (waits for the start of vLLM)" in terminal.getvalue()
