"""An evaluation that is killed at any call goes on where it stopped: the same rows, and no kept call is made again."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import evaluation_run
from support.evaluation_run import EvaluationRun, contents, write_scenes
from support.fake_llm import FakeLLM, default_answer
from support.object_store import BUCKET, ObjectStore
from support.synthesis_run import WorkerForge, worker_forge


class Killer:
    """Answers like the fake model, and kills a worker at its n-th call."""

    def __init__(self) -> None:
        self.pid = 0
        self.left = 0

    def __call__(self, request: dict[str, Any]) -> str:
        self.left -= 1
        if self.pid and self.left == 0:
            os.kill(self.pid, signal.SIGKILL)
        return default_answer(request)


@pytest.fixture(scope="module")
def forge() -> Iterator[WorkerForge]:
    with worker_forge(evaluation_run.__file__) as forge:
        yield forge


def unbroken(tmp_path: Path, server: FakeLLM, suite: Path) -> tuple[list[list[Any]], int]:
    """The rows of a run that nobody kills, and its calls."""
    rows = contents(EvaluationRun(str(tmp_path / "unbroken"), server.base_url, str(suite)).run())
    calls = len(server.calls)
    server.calls.clear()
    return rows, calls


def killed_at_every(
    number: int,
    run: EvaluationRun,
    calls: int,
    server: FakeLLM,
    killer: Killer,
    forge: WorkerForge,
    after: Callable[[], None],
) -> int:
    """Run in workers that die at their n-th call, until one does not; how many died."""
    for kills in range(calls):
        kept, before = run.durable_calls(), len(server.calls)
        # The worker may make its first calls before its process id is known here, but not so many.
        killer.pid, killer.left = 0, number
        killer.pid = forge.start(run)
        status = forge.wait(killer.pid)
        killer.pid = 0
        made = len(server.calls) - before
        if status == 0:
            assert made == calls - kept, "a call that was kept is made again"
            return kills
        assert status == -signal.SIGKILL
        assert run.durable_calls() > kept
        after()
    raise AssertionError("never finished")


def test_a_run_that_is_killed_at_every_tenth_call(tmp_path: Path, forge: WorkerForge) -> None:
    killer, suite = Killer(), write_scenes(tmp_path / "suite")
    with FakeLLM(answer=killer) as server:
        rows, calls = unbroken(tmp_path, server, suite)
        run = EvaluationRun(str(tmp_path / "killed"), server.base_url, str(suite))
        kills = killed_at_every(10, run, calls, server, killer, forge, lambda: None)
        assert kills >= calls // 10 - 1
        assert {call.request["model"] for call in server.calls} == {
            "model-base", "model-challenger", "judge-first", "judge-second"
        }  # fmt: skip
        assert contents(run.run()) == rows


def test_a_killed_run_in_an_object_store(tmp_path: Path, s3_root: str, s3_server: ObjectStore) -> None:
    killer, suite = Killer(), write_scenes(tmp_path / "suite")
    # The workers inherit the store's address from the environment of this test.
    with FakeLLM(answer=killer, delay_s=0.05) as server, worker_forge(evaluation_run.__file__) as forge:
        rows, calls = unbroken(tmp_path, server, suite)
        run = EvaluationRun(s3_root, server.base_url, str(suite))
        kills = killed_at_every(10, run, calls, server, killer, forge, lambda: expire_leases(s3_server, s3_root))
        assert kills >= 1
        assert contents(run.run()) == rows


def expire_leases(server: ObjectStore, root: str) -> None:
    """As if a dead worker's time had passed."""
    client, prefix = server.client(), root.removeprefix(f"s3://{BUCKET}/")
    for each in client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/rows/").get("Contents", ()):
        if "/locks/" in each["Key"]:
            client.delete_object(Bucket=BUCKET, Key=each["Key"])


def test_two_workers_on_two_suites_make_what_one_makes(tmp_path: Path, forge: WorkerForge) -> None:
    suites = {name: write_scenes(tmp_path / name, name=name) for name in ("one", "two")}
    with FakeLLM() as server:
        alone = [
            contents(EvaluationRun(str(tmp_path / "alone"), server.base_url, str(folder)).run())
            for folder in suites.values()
        ]
        seen = [call.digest for call in server.calls]
        assert len(seen) == len(set(seen)), "the second suite asks the same, and is answered from the store"
        runs = [
            EvaluationRun(str(tmp_path / "both"), server.base_url, str(folder), f"evaluation-{name}")
            for name, folder in suites.items()
        ]
        assert [forge.wait(pid) for pid in [forge.start(run) for run in runs]] == [0, 0]
        server.calls.clear()
        assert [contents(run.run()) for run in runs] == alone
        assert server.calls == []


def test_a_second_worker_on_the_same_rows_is_refused_and_asks_nothing(tmp_path: Path, forge: WorkerForge) -> None:
    suite = write_scenes(tmp_path / "suite")
    with FakeLLM(delay_s=0.1) as server:
        _, calls = unbroken(tmp_path, server, suite)
        run = EvaluationRun(str(tmp_path / "work"), server.base_url, str(suite))
        first = forge.start(run)
        while not server.calls:
            os.sched_yield()
        assert forge.wait(forge.start(replace(run))) == 1
        assert forge.wait(first) == 0
        assert len(server.calls) == calls
