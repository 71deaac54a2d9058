"""A process of its own for each case, since a limit that has been raised stays so."""

import subprocess
import sys
from pathlib import Path

import pytest

from opencharacter.errors import UserError
from opencharacter.system import open_files
from opencharacter.system.open_files import room_for_connections

_PROGRAM = """
import os, sys
from contextlib import ExitStack
from opencharacter.errors import UserError
from opencharacter.system.open_files import room_for_connections

opened = []
with ExitStack() as stack:
    for count in map(int, sys.argv[1:]):
        try:
            stack.enter_context(room_for_connections(count, "concurrency"))
        except UserError as error:
            print(error, "|", error.hint)
            break
        opened += [os.pipe() for _ in range(count // 2)]
    else:
        print("opened", 2 * len(opened))
"""


def _run(*counts: int, soft: int, hard: int) -> str:
    limited = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$0" "$@"'
    command = ["sh", "-c", limited, sys.executable, "-c", _PROGRAM, *map(str, counts)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_soft_limit_is_raised_for_all_that_is_promised() -> None:
    assert _run(200, 200, soft=64, hard=600) == "opened 400"


@pytest.mark.parametrize("counts", [(1000,), (300, 300)])
def test_more_than_the_hard_limit_is_refused_with_the_numbers(counts: tuple[int, ...]) -> None:
    told = _run(*counts, soft=64, hard=600)
    needed = sum(counts) + 128
    assert told.startswith(f"concurrency is {counts[-1]}, for which this process needs {needed} open files")
    assert "its hard limit is 600 | lower it, or raise" in told


def test_more_connections_than_local_ports_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "range").write_text("32768\t60999\n", encoding="ascii")
    monkeypatch.setattr(open_files, "_PORT_RANGE", tmp_path / "range")
    refused = "concurrency is 30000; this machine can have 28232 connections to one server"
    with pytest.raises(UserError, match=refused), room_for_connections(30000, "concurrency"):
        pass
