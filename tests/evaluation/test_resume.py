"""An evaluation that is killed at any call goes on where it stopped: the same rows, and no kept call is made again."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import evaluation_run
from support.evaluation_run import SCENES, EvaluationRun, contents, write_references, write_scenes
from support.fake_llm import FakeLLM, default_answer
from support.object_store import BUCKET, ObjectStore
from support.synthesis_run import WorkerForge, worker_forge


def stage_of(request: dict[str, Any]) -> tuple[str, bool]:
    """Who is asked, and whether for example answers."""
    return request["model"], str(request["messages"][0]["content"]).startswith("Write answers")


STAGES = {
    ("model-base", False), ("model-challenger", False),
    ("judge-first", True), ("judge-first", False), ("judge-second", False),
}  # fmt: skip


class Killer:
    """Answers like the fake model, and kills the worker at its tenth call, and perhaps once in each stage."""

    def __init__(self, *, in_stages: bool) -> None:
        self.stages: set[tuple[str, bool]] = set()
        """Where a worker was killed."""
        self._in_stages = in_stages
        self._calls = 0
        self._pid: int | None = None
        self._known = threading.Event()
        self._known.set()

    def run(self, run: EvaluationRun, forge: WorkerForge) -> int:
        """Run a worker; its exit status."""
        self._known.clear()
        self._calls = 0
        self._pid = forge.start(run)
        self._known.set()
        status, self._pid = forge.wait(self._pid), None
        return status

    def __call__(self, request: dict[str, Any]) -> str:
        self._known.wait()
        self._calls += 1
        stage = stage_of(request)
        if self._pid and (self._calls == 10 or (self._in_stages and stage not in self.stages)):
            os.kill(self._pid, signal.SIGKILL)
            self.stages.add(stage)
        return default_answer(request)


@pytest.fixture(scope="module")
def forge() -> Iterator[WorkerForge]:
    with worker_forge(evaluation_run.__file__) as forge:
        yield forge


def unbroken(tmp_path: Path, server: FakeLLM, suite: Path) -> tuple[list[list[Any]], int]:
    """The rows of a run that nobody kills, and its calls."""
    rows = contents(EvaluationRun(str(tmp_path / "unbroken"), server.base_url, str(suite)).run())
    calls = len(server.calls)
    assert {stage_of(call.request) for call in server.calls} == STAGES
    server.calls.clear()
    return rows, calls


def run_killed(
    run: EvaluationRun,
    calls: int,
    server: FakeLLM,
    killer: Killer,
    forge: WorkerForge,
    after: Callable[[], None] = lambda: None,
) -> int:
    """Run in workers until one is not killed; how many were."""
    for kills in range(calls):
        kept, before = run.durable_calls(), len(server.calls)
        status = killer.run(run, forge)
        made = len(server.calls) - before
        if status == 0:
            assert made == calls - kept, "a call that was kept is made again"
            return kills
        assert status == -signal.SIGKILL
        after()
    raise AssertionError("never finished")


@pytest.mark.parametrize("in_stages", [False, True])
def test_a_run_that_is_killed_at_every_tenth_call_and_in_every_stage(
    in_stages: bool, tmp_path: Path, forge: WorkerForge
) -> None:
    killer, suite = Killer(in_stages=in_stages), write_scenes(tmp_path / "suite")
    with FakeLLM(answer=killer) as server:
        rows, calls = unbroken(tmp_path, server, suite)
        run = EvaluationRun(str(tmp_path / "killed"), server.base_url, str(suite))
        kills = run_killed(run, calls, server, killer, forge)
        assert kills >= (len(STAGES) if in_stages else calls // 10)
        assert killer.stages == STAGES or not in_stages
        assert contents(run.run()) == rows


def test_a_killed_run_in_an_object_store(tmp_path: Path, s3_root: str, s3_server: ObjectStore) -> None:
    killer, suite = Killer(in_stages=True), write_scenes(tmp_path / "suite")
    # The workers inherit the store's address from the environment of this test.
    with FakeLLM(answer=killer, delay_s=0.05) as server, worker_forge(evaluation_run.__file__) as forge:
        rows, calls = unbroken(tmp_path, server, suite)
        run = EvaluationRun(s3_root, server.base_url, str(suite))
        run_killed(run, calls, server, killer, forge, lambda: expire_leases(s3_server, s3_root))
        assert killer.stages == STAGES
        assert contents(run.run()) == rows


def test_a_run_that_is_killed_between_forward_passes(tmp_path: Path, tiny_llama: Path) -> None:
    suite = str(write_references(tmp_path / "suite"))
    whole = EvaluationRun(str(tmp_path / "whole"), "", suite, weights=str(tiny_llama))
    run = replace(whole, root=str(tmp_path / "killed"), killed_at=3)
    with worker_forge(evaluation_run.__file__, "--losses") as forge:
        statuses = [forge.wait(forge.start(each)) for each in (whole, run, run, run)]
    assert statuses == [0, -signal.SIGKILL, -signal.SIGKILL, 0]
    assert run.passes() == whole.passes() == 2 * len(SCENES), "a loss that was kept is computed again"
    assert contents(run.run()) == (rows := contents(whole.run()))
    assert {row.status for row in rows[-1]} == {"ok"}


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
