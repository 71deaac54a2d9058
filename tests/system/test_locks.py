"""Locks between processes: who waits, who is refused, and when a lock ends."""

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from opencharacter.errors import UserError
from opencharacter.pipelines.local import local_services
from opencharacter.system.locks import Cancelled, Locked, file_lock
from opencharacter.training.launch import exclusive


def test_a_lock_that_is_held_is_refused_at_once(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock"), pytest.raises(Locked), file_lock(tmp_path / "lock", wait=False):
        pass
    with file_lock(tmp_path / "lock", wait=False):
        pass


def test_a_waiting_training_says_so_and_goes_on_when_the_other_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warned, acquired = threading.Event(), threading.Event()

    class Signal(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned.set()

    def wait() -> None:
        with exclusive(tmp_path):
            acquired.set()

    waiter = threading.Thread(target=wait, daemon=True)
    handler = Signal()
    logging.getLogger("opencharacter.training.launch").addHandler(handler)
    try:
        with exclusive(tmp_path):
            waiter.start()
            assert warned.wait(10)
            assert not acquired.is_set()
        assert acquired.wait(10)
    finally:
        logging.getLogger("opencharacter.training.launch").removeHandler(handler)
    assert caplog.messages == [f"another process is training in {tmp_path}; waiting for it to end"]


def test_a_wait_can_be_cancelled(tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with file_lock(tmp_path / "lock"), pytest.raises(Cancelled), file_lock(tmp_path / "lock", cancelled=cancelled):
        pass


def test_a_child_that_inherits_the_descriptor_keeps_the_lock(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock") as descriptor:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    with pytest.raises(Locked), file_lock(tmp_path / "lock", wait=False):
        pass
    child.communicate(b"\n")
    with file_lock(tmp_path / "lock", wait=False):
        pass


def test_a_working_folder_serves_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / ".lock"),
        pytest.raises(UserError, match="in use by another run"),
        local_services(tmp_path),
    ):
        pass
