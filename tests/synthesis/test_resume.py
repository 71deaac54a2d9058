"""A run that is killed again and again ends with the rows of an unbroken one, and asks nothing twice."""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fake_llm import FakeLLM, default_answer
from support.small_model import SMALL_MODEL_NAME
from support.synthesis_run import CONVERSATIONS, PERSONAS, SmallRun, WorkerForge, worker_forge

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import fraction, seed64
from opencharacter.storage import Artifact, read_jsonl, read_rows
from opencharacter.storage.journal import decode_calls
from opencharacter.synthesis import dialogues

KILLS = 24
_ATTEMPT_KEYS = [f"{n}{suffix}" for n in (1, 2) for suffix in ("", ".repair", ".1", ".2")] + ["3.1", "3.2"]


class Teacher:
    """Answers a fifth of the requests badly, so that attempts, repairs and rejections are part of every run."""

    def __init__(self) -> None:
        self._asked = threading.Semaphore(0)

    def __call__(self, request: dict[str, Any]) -> str:
        self._asked.release()
        draw = fraction("bad", request["messages"], request["seed"])
        if draw < 0.1:
            return "[[ no JSON at all"
        return "As an AI, I have no answer." if draw < 0.2 else default_answer(request)

    def wait_for(self, calls: int) -> None:
        """Return when this many more calls have come."""
        for _ in range(calls):
            assert self._asked.acquire(timeout=20), "the worker stopped asking"

    def forget(self) -> None:
        """Count from zero."""
        while self._asked.acquire(blocking=False):
            pass


@pytest.fixture(scope="module")
def forge() -> Iterator[WorkerForge]:
    with worker_forge() as workers:
        yield workers


@pytest.fixture
def teacher() -> Teacher:
    return Teacher()


@pytest.fixture
def server(teacher: Teacher) -> Iterator[FakeLLM]:
    with FakeLLM(answer=teacher, delay_s=0.015) as fake:
        yield fake


def contents(*outputs: Artifact) -> list[bytes]:
    """The bytes of all files of the outputs, less their manifests (which hold times)."""
    files = [path for ref in outputs for path in sorted(ref.path.iterdir()) if path.name != "manifest.json"]
    return [path.read_bytes() for path in files]


def journalled(root: Path) -> dict[tuple[str, str], int]:
    """Request seed by (row, key) of every call that is durable in a journal now."""
    files = (root / "rows").glob("*/journal/*")
    calls = [call for path in files for call in decode_calls(path.name, path.read_bytes())]
    return {(call.row_id, call.key): request_seed(call.row_id, call.key) for call in calls}


def committed_seeds(root: Path) -> set[int]:
    """Request seeds of every call that the rows in the parts may have made."""
    stores = [read_rows(root / "rows" / name) for name in ("profiles", "responses")]
    rows = [row_id for store in stores for row_id in store]
    return {request_seed(row_id, key) for row_id in rows for key in _ATTEMPT_KEYS}


def request_seed(row_id: str, key: str) -> int:
    return seed64(SmallRun.seed, row_id, key) % 2**31


def test_killed_run_equals_unbroken_run(tmp_path: Path, server: FakeLLM, teacher: Teacher, forge: WorkerForge) -> None:
    unbroken = SmallRun(str(tmp_path / "unbroken"), server.base_url, n=8).run()
    asked = Counter(call.digest for call in server.calls)
    assert set(asked.values()) == {1}
    server.calls.clear()
    rng = random.Random(5)
    run = SmallRun(str(tmp_path / "killed"), server.base_url, n=8, by_character=True)
    durable: set[int] = set()
    for _ in range(KILLS):
        before = len(server.calls)
        teacher.forget()
        pid = forge.start(run)
        # At a random moment of the milliseconds that follow the n-th call: before, in or after writing it down.
        teacher.wait_for(rng.randint(1, 4))
        threading.Event().wait(rng.uniform(0, 0.025))
        os.kill(pid, signal.SIGKILL)
        assert forge.wait(pid) == -signal.SIGKILL
        assert not {call.request["seed"] for call in server.calls[before:]} & durable
        durable |= set(journalled(Path(run.root)).values()) | committed_seeds(Path(run.root))
    before = len(server.calls)
    assert forge.wait(forge.start(run)) == 0
    assert not {call.request["seed"] for call in server.calls[before:]} & durable
    again = Counter(call.digest for call in server.calls)
    # Only what was under way at a kill, to the server or to the disk, is asked for twice.
    assert contents(*run.run()) == contents(*unbroken)
    assert set(again) == set(asked)
    assert len(server.calls) == again.total() <= asked.total() + KILLS * 2 * run.concurrency


@pytest.mark.parametrize("by_character", [False, True])
def test_any_shard_count_finds_the_same_rows(
    tmp_path: Path, server: FakeLLM, by_character: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SmallRun(str(tmp_path), server.base_url, shards=3)
    monkeypatch.setattr(dialogues, "CHARACTERS_PER_SHARD", 0 if by_character else 256)
    first = contents(*run.run())
    asked = len(server.calls)
    # New roots for the steps' outputs, the rows as they are: as after a change of the library.
    for number, (run.shards, cut) in enumerate([(1, by_character), (7, by_character), (2, not by_character)]):
        (tmp_path / "outputs").rename(tmp_path / f"old-{number}")
        monkeypatch.setattr(dialogues, "CHARACTERS_PER_SHARD", 0 if cut else 256)
        assert contents(*run.run()) == first
    assert len(server.calls) == asked


def test_a_shard_by_character_makes_all_rows_of_its_characters(
    tmp_path: Path, server: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialogues, "CHARACTERS_PER_SHARD", 0)
    run = SmallRun(str(tmp_path), server.base_url, shards=3, strategies=("G",), n=4, concurrency=1)
    for shard in range(3):
        run.make_profiles(shard)
    prompts: list[list[str]] = []
    for shard in range(3):
        server.calls.clear()
        run.make_responses(shard)
        asked = [call.request["messages"] for call in server.calls]
        begun = dict.fromkeys(tuple(turn["content"] for turn in messages) for messages in asked if len(messages) == 2)
        prompts.append([prompt for prompt, _ in begun])
    assert sum(len(set(shard)) for shard in prompts) == len({prompt for shard in prompts for prompt in shard})
    # Rows begin in their order, and a prompt that is left does not come again: its character's rows follow one another.
    for shard in prompts:
        assert len(set(shard)) == sum(before != after for before, after in zip([None, *shard], shard, strict=False))


def test_a_changed_persona_is_asked_for_alone(tmp_path: Path, server: FakeLLM) -> None:
    run = SmallRun(str(tmp_path), server.base_url, strategies=("R",))
    _, before = run.run()
    server.calls.clear()
    run.personas[3] = "A cartographer who maps puddles."
    characters, after = run.run()
    [changed] = [
        row["id"] for row in read_jsonl(characters.path / "characters.jsonl.zst") if "puddles" in row["persona"]
    ]
    old = {row["row_id"]: row for row in read_jsonl(before.path / "dialogues.jsonl.zst")}
    new = {row["row_id"]: row for row in read_jsonl(after.path / "dialogues.jsonl.zst")}
    made = [row for row_id, row in new.items() if row_id not in old]
    prompts = [call.request["messages"][2]["content"] for call in server.calls if len(call.request["messages"]) > 2]
    of_profile = [prompt for prompt in prompts if prompt.startswith("Invent")]
    assert of_profile
    assert all("puddles" in prompt for prompt in of_profile)
    # The new character plays some sessions; in those that lost the old one, somebody takes its place.
    lost = {row["session_id"] for row_id, row in old.items() if row_id not in new}
    assert all(row["character_id"] == changed or row["session_id"] in lost for row in made)
    assert len(made) < len(new)


def test_sigterm_keeps_what_is_finished(tmp_path: Path, server: FakeLLM, teacher: Teacher, forge: WorkerForge) -> None:
    run = SmallRun(str(tmp_path), server.base_url)
    pid = forge.start(run)
    teacher.wait_for(5)
    os.kill(pid, signal.SIGTERM)
    assert forge.wait(pid) == 130
    durable = set(journalled(tmp_path).values()) | committed_seeds(tmp_path)
    assert durable
    before = len(server.calls)
    run.run()
    assert not {call.request["seed"] for call in server.calls[before:]} & durable


def test_deleted_part_is_made_again(tmp_path: Path, server: FakeLLM) -> None:
    run = SmallRun(str(tmp_path), server.base_url, strategies=("R",))
    run.make_profiles()
    [part, *_] = sorted((tmp_path / "rows" / "profiles" / "parts").iterdir())
    part.unlink()
    with pytest.raises(OpenCharacterError, match="rows of characters are not made yet"):
        run.characters()
    asked = len(server.calls)
    run.make_profiles()
    assert run.characters().counts["ok"] + run.characters().counts["rejected"] == len(run.personas)
    assert len(server.calls) > asked


def test_real_engine_makes_the_same_rows_after_a_kill(
    tmp_path: Path, fake_llm: FakeLLM, vllm_url: str, forge: WorkerForge
) -> None:
    settings = {"model": SMALL_MODEL_NAME, "n": 2, "max_tokens": 24, "attempts": 1, "strategies": ("G",)}
    settings |= {"personas": PERSONAS[:3], "conversations": CONVERSATIONS[:2], "max_rejected_share": 1.0}
    ids = {}
    for name in ("unbroken", "killed"):
        # Profiles are a fake's, since a real engine's text, and so a character's id, may differ between runs.
        root = tmp_path / name
        run = SmallRun(str(root), fake_llm.base_url, **settings)
        run.make_profiles()
        run.url = vllm_url
        if name == "killed":
            pid = forge.start(run)
            while not journalled(root):
                threading.Event().wait(0.02)
            os.kill(pid, signal.SIGKILL)
            assert forge.wait(pid) == -signal.SIGKILL
            kept = journalled(root)
            assert kept
        manifest = run.make_responses()
        ids[name] = set(read_rows(root / "rows" / "responses"))
    assert ids["killed"] == ids["unbroken"]
    assert len(ids["killed"]) == 4
    assert manifest.stats["calls_reused"] == len(kept)
