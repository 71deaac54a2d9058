"""Rows on copies of a model: together by group, and no copy far busier than the others."""

import importlib.util
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from opencharacter.engines.replicas import RANK_HEADER, Replicas, Seat


def seated(replicas: Replicas, group: str) -> Seat:
    seat = Seat(group)
    headers = replicas.headers(seat)
    assert headers == {RANK_HEADER: str(seat.rank)}
    assert replicas.headers(seat) == headers, "every call of a row goes to the same copy"
    return seat


@given(st.integers(2, 8), st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=300))
def test_no_copy_has_many_more_rows_than_its_share(count: int, events: list[tuple[int, bool]]) -> None:
    replicas = Replicas(count)
    rows: list[Seat] = []
    for group, leaves in events:
        if leaves and rows:
            replicas.leave(rows.pop(0))
            continue
        rows.append(seated(replicas, str(group)))
        here = sum(seat.rank == rows[-1].rank for seat in rows)
        mean = len(rows) / count
        assert here <= mean + max(16, mean / 8) + 1


def test_a_group_that_is_alone_fills_all_copies() -> None:
    replicas = Replicas(8)
    ranks = [seated(replicas, "the only character").rank for _ in range(2048)]
    assert all(200 < ranks.count(rank) < 300 for rank in range(8))


def test_small_groups_that_follow_one_another_stay_together() -> None:
    replicas = Replicas(8)
    under_way: list[Seat] = []
    together = 0
    for group in range(400):
        rows = [seated(replicas, str(group)) for _ in range(15)]
        together += len({seat.rank for seat in rows}) == 1
        under_way += rows
        while len(under_way) > 2048:
            replicas.leave(under_way.pop(0))
    assert together > 360


def test_one_copy_is_not_named() -> None:
    assert Replicas().headers(Seat("group")) is None


def test_vllm_reads_the_header() -> None:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    serving = Path(spec.submodule_search_locations[0]) / "entrypoints/generate/base/serving.py"
    assert f'headers.get("{RANK_HEADER}")' in serving.read_text(encoding="utf-8")
