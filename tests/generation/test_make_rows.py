"""Rows in the making: the order they are made in, and when a server is started."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_llm import FakeLLM

from opencharacter.engines import ChatEngine, EngineConfig, Sampling
from opencharacter.engines.replicas import Endpoint
from opencharacter.generation.calls import RowCalls
from opencharacter.generation.rows import RowTask, StoredRow, make_rows
from opencharacter.hashing import digest
from opencharacter.storage import open_rows, read_rows

GROUPS = [digest(name) for name in ("one", "two", "three")]


class Server:
    """A server that notes when it is started."""

    def __init__(self, url: str, replicas: int = 1) -> None:
        self.started = threading.Event()
        self._endpoint = Endpoint(url, replicas)

    def engine(self, concurrency: int = 1) -> ChatEngine:
        config = EngineConfig(model="fake", base_url=self._endpoint.base_url, concurrency=concurrency)
        return ChatEngine(config, self._connect, api_key=None)

    async def _connect(self) -> Endpoint:
        self.started.set()
        return self._endpoint


@pytest.fixture
def server(fake_llm: FakeLLM) -> Server:
    return Server(fake_llm.base_url)


async def _ask(calls: RowCalls) -> StoredRow:
    reply = await calls.ask("1", [{"role": "user", "content": "Who are you?"}])
    return StoredRow({"text": reply.text}, "ok")


def task(number: int, group: str | None = None) -> RowTask:
    return RowTask(digest(number), "teacher", Sampling(), _ask, group=group)


async def make(root: Path, tasks: Iterator[RowTask], engine: ChatEngine) -> None:
    async with open_rows(root) as store:
        try:
            await make_rows(store, tasks, {"teacher": engine})
        finally:
            await engine.close()


async def test_the_server_starts_while_rows_are_planned(tmp_path: Path, server: Server) -> None:
    def plan() -> Iterator[RowTask]:
        assert not server.started.is_set()
        yield task(0)
        assert server.started.wait(20), "the rest of the plan is not needed for the start"
        yield from map(task, range(1, 9))

    await make(tmp_path, plan(), server.engine())
    assert len(read_rows(tmp_path)) == 9


async def test_no_server_starts_where_no_call_is_left(tmp_path: Path, server: Server, fake_llm: FakeLLM) -> None:
    await make(tmp_path, map(task, range(5)), Server(fake_llm.base_url).engine())
    async with open_rows(tmp_path) as store:
        # Its call is recorded, but the run ended before the row was made.
        await store.record(digest(5), "1", {"text": "I am a lamp.", "finish_reason": "stop", "usage": {}})
    await make(tmp_path, map(task, range(6)), server.engine())
    assert read_rows(tmp_path).read(digest(5)) == {"text": "I am a lamp."}
    assert not server.started.is_set()


async def test_a_plan_that_fails_ends_the_work(tmp_path: Path, server: Server) -> None:
    def plan() -> Iterator[RowTask]:
        yield task(0)
        raise ValueError("a damaged session")

    with pytest.raises(ValueError, match="a damaged session"):
        await make(tmp_path, plan(), server.engine())
    assert len(read_rows(tmp_path)) == 0


async def test_rows_of_a_group_are_made_one_after_the_other(tmp_path: Path, server: Server) -> None:
    made: list[tuple[str | None, int]] = []

    def noted(number: int) -> RowTask:
        group = GROUPS[number % 3]

        async def make_one(calls: RowCalls) -> StoredRow:
            made.append((group, number))
            return await _ask(calls)

        return RowTask(digest(number), "teacher", Sampling(), make_one, group=group)

    await make(tmp_path, map(noted, range(12)), server.engine())
    assert made == sorted(made), "by group, and within a group in the order of the plan"


async def test_rows_of_a_group_go_to_one_copy_of_the_model(tmp_path: Path, fake_llm: FakeLLM) -> None:
    groups = [digest(["group", number]) for number in range(8)]

    def of_group(number: int) -> RowTask:
        group = groups[number // 6]

        async def make_two_turns(calls: RowCalls) -> StoredRow:
            for turn in "12":
                await calls.ask(turn, [{"role": "user", "content": group}])
            return StoredRow({}, "ok")

        return RowTask(digest(number), "teacher", Sampling(), make_two_turns, group=group)

    await make(tmp_path, map(of_group, range(48)), Server(fake_llm.base_url, replicas=4).engine(concurrency=16))
    ranks: dict[str, set[str | None]] = {}
    for call in fake_llm.calls:
        ranks.setdefault(call.request["messages"][0]["content"], set()).add(call.rank)
    assert ranks.keys() == set(groups)
    assert all(len(of_one) == 1 for of_one in ranks.values()), ranks
    assert set.union(*ranks.values()) <= {"0", "1", "2", "3"}
    assert len(set.union(*ranks.values())) > 1


async def test_a_server_that_is_not_ours_is_not_sent_the_header(tmp_path: Path, fake_llm: FakeLLM) -> None:
    async with open_rows(tmp_path) as store:
        engine = EngineConfig(model="fake", base_url=fake_llm.base_url)
        await make_rows(store, [task(0, GROUPS[0])], {"teacher": engine})
    assert [call.rank for call in fake_llm.calls] == [None]
