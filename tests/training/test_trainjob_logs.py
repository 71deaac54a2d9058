"""Reading a pod's log over streams that break anywhere."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.training.trainjob.pod_logs import LogReaders, PodLog
from opencharacter.training.trainjob.status import Run

# Times that repeat, and fractions of different lengths, as they come where trailing zeros are left out.
_STAMPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["", ".1", ".10000001", ".2", ".200000000", ".25"])), max_size=12
)


@given(_STAMPS, st.lists(st.integers(0, 900), max_size=8), st.data())
def test_each_line_is_read_once_whatever_breaks(
    stamps: list[tuple[int, str]], breaks: list[int], data: st.DataObject
) -> None:
    lines = [f"2026-01-01T00:00:0{second}{part}Z line {n}" for n, (second, part) in enumerate(sorted(stamps, key=_age))]
    whole = "".join(line + "\n" for line in lines).encode()
    cuts = [*breaks, len(whole)]

    def open_log(since_s: int | None) -> list[bytes]:
        stream, size = whole[: cuts.pop(0)], data.draw(st.integers(1, 50))
        return [stream[start : start + size] for start in range(0, len(stream), size)]

    log = PodLog(open_log)
    read: list[str] = []
    while cuts:
        read += log.read()
    assert read == [f"line {n}\n" for n in range(len(lines))]


def _age(stamp: tuple[int, str]) -> tuple[int, float]:
    return stamp[0], float(f"0{stamp[1] or '.0'}")


def test_what_comes_before_the_break_is_kept_and_only_the_end_is_asked_for_again() -> None:
    asked: list[int | None] = []

    def open_log(since_s: int | None):
        asked.append(since_s)
        yield b"2026-01-01T00:00:00Z one\n"
        if since_s is None:
            raise ConnectionResetError
        yield b"2026-01-01T00:00:01.5+01:00 too old\n2026-01-01T00:00:00.5Z two\nhalf a l"

    log = PodLog(open_log)
    assert list(log.read()) == ["one\n"]
    assert list(log.read()) == ["two\n"]
    assert asked[0] is None
    assert asked[1] is not None
    assert 60 <= asked[1] < 120


def test_a_fault_of_ours_is_no_break() -> None:
    def open_log(since_s: int | None):
        yield b"2026-01-01T00:00:00Z one\n"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(PodLog(open_log).read())


def test_a_stream_that_was_opened_in_the_moment_of_a_restart_is_left() -> None:
    """It shows what the next run prints, for as long as that runs; the run before is read to its end once more."""
    restarted, done = threading.Event(), threading.Event()
    asked: list[tuple[bool, bool]] = []

    class Api:
        def log(self, pod: str, *, follow: bool, previous: bool, since_s: int | None) -> Iterator[bytes]:
            asked.append((follow, previous))
            if previous:
                yield b"2026-01-01T00:00:00Z one\n2026-01-01T00:00:01Z two\n"
                return
            yield b"2026-01-01T00:00:00Z one\n"
            restarted.wait(10)
            while not done.wait(0.005):
                yield b"2026-01-01T00:00:09Z of the next run\n"

    heard: list[tuple[int, str]] = []
    readers = LogReaders(Api())  # type: ignore[arg-type]
    run = Run(node=0, pod="p", machine="m", uid="u", restarts=0)
    readers.follow(run)

    def take(said: Run, line: str) -> None:
        heard.append((said.restarts, line))
        if line == "one\n":
            readers.follow(run._replace(restarts=1))
            restarted.set()

    for _ in range(100):
        if ((0, "two\n")) not in heard:
            readers.read(take, 0.05)
    done.set()
    readers.close()
    assert (False, True) in asked
    assert heard.count((0, "two\n")) <= 1
    assert heard.count((0, "one\n")) == 1
    assert len([line for restarts, line in heard if restarts == 0 and line.startswith("of")]) <= 1
