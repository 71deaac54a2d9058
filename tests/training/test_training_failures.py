"""What a failed training says."""

import errno
import os
import select
from pathlib import Path

import pytest

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.training.job import Event, Job, Nodes, Tracking
from opencharacter.training.launch import exclusive, run_workers
from opencharacter.training.sft_config import SftConfig
from opencharacter.training.worker.__main__ import explain


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        config=SftConfig(base_model="m"),
        base_model=tmp_path,
        rows=tmp_path / "none.jsonl.zst",
        folder=tmp_path,
        workspace=str(tmp_path),
        checkpoints="job",
        nodes=Nodes(),
        model=tmp_path / "model",
        result=tmp_path / "result.json",
        seed=1,
        tracking=Tracking(experiment=None, dataset_uri="", dataset_digest="", tags={}),
    )


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full", "run again"),
        (
            RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"),
            "disk is full",
            "run again",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "memory", "lower"),
        (MemoryError(), "memory", "lower"),
        (KeyError("odd"), "KeyError: 'odd'", "train.log"),
    ],
)
def test_failures_are_named_with_a_way_out(job: Job, error: Exception, message: str, hint: str) -> None:
    explained = explain(error, job)
    assert message in str(explained)
    assert hint in (explained.hint or "")


def _command(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr("opencharacter.training.launch._command", lambda *_: ["sh", "-c", script])


def test_the_workers_own_error_is_raised(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    event = Event(kind="failure", message="row 7 is bad", hint="mend it", exit_code=2)
    _command(monkeypatch, f"echo noise; echo 'half a line@opencharacter-event {event.model_dump_json()}'; exit 1")
    with exclusive(job.folder) as lock, pytest.raises(UserError, match="row 7 is bad") as raised:
        run_workers(job, lock)
    assert raised.value.hint == "mend it"
    assert (job.folder / "train.log").read_text() == "noise\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -KILL $$", "memory ran out"),
        ("echo 'Segmentation fault'; exit 3", "(?s)exit code 3.*Segmentation fault"),
        ("exit 0", "exit code 0"),
    ],
)
def test_a_crash_without_words_shows_what_is_known(
    job: Job, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    _command(monkeypatch, script)
    with exclusive(job.folder) as lock, pytest.raises(OpenCharacterError, match=message):
        run_workers(job, lock)


def test_ctrl_c_ends_the_workers(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = job.folder / "pid"
    event = Event(kind="progress", step=1, total_steps=9)
    line = f"@opencharacter-event {event.model_dump_json()}"
    _command(monkeypatch, f"(echo $BASHPID; exec sleep 300) & echo $! > {pid_file}; echo '{line}'; wait")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("opencharacter.training.launch.EventReader._advance", interrupt)
    with exclusive(job.folder) as lock, pytest.raises(KeyboardInterrupt):
        run_workers(job, lock)
    assert _ends(int(pid_file.read_text()))


def _ends(pid: int) -> bool:
    """Whether the process has ended, or does so in ten seconds (a killed one takes a moment)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    return bool(select.select([descriptor], [], [], 10)[0])
