"""A run begun by version 0.1.0 continues: no answered call is made again, and rows keep their addresses and bytes."""

import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.begun_run import FOLDER, UNREADABLE, BegunRun, answer, asked
from support.fake_llm import FakeLLM

from opencharacter.records import DialogueRow
from opencharacter.storage import Workspace, read_models
from opencharacter.synthesis import dialogues

CALLS: dict[str, list[str]] = json.loads((FOLDER / "calls.json").read_text())
ADDRESSES: dict[str, dict[str, str]] = json.loads((FOLDER / "addresses.json").read_text())


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    data = zstandard.ZstdDecompressor().stream_reader((FOLDER / "workspaces.tar.zst").read_bytes()).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def begun(unpacked: Path, tmp_path: Path) -> Path:
    """A folder with the workspaces `begun` and `judging`, and the model."""
    return Path(shutil.copytree(unpacked, tmp_path / "begun-run"))


@pytest.fixture(scope="module")
def model(unpacked: Path) -> Path:
    return unpacked / "model"


def parts(workspace: Path) -> dict[Path, bytes]:
    """The files of finished rows."""
    return {path: path.read_bytes() for path in workspace.glob("rows/*/parts/*")}


def calls_of(work: Callable[[str], Any]) -> list[str]:
    """The calls that a step makes."""
    with FakeLLM(answer=answer) as server:
        work(server.base_url)
        assert set(server.outcomes) <= {"ok"}
        return sorted(asked(server))


@pytest.mark.parametrize(("shards", "by_character"), [(2, False), (3, False), (2, True), (3, True)])
def test_responses_that_an_earlier_version_began_ask_for_what_is_missing(
    begun: Path, shards: int, by_character: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_character:
        monkeypatch.setattr(dialogues, "CHARACTERS_PER_SHARD", 0)
    before = parts(begun / "begun")
    assert list(begun.glob("begun/rows/responses/journal/*")), "rows under way are part of the fixture"

    def finish(url: str) -> None:
        run = BegunRun(begun / "begun", url, begun / "model", (f"shards={shards}",))
        run.synthesise()
        assert run.addresses() == ADDRESSES | {"evaluation": {}}

    assert calls_of(finish) == CALLS["begun"]
    after = parts(begun / "begun")
    assert before.items() <= after.items()
    assert not list(begun.glob("begun/rows/responses/journal/*"))


def test_finished_stages_of_an_earlier_version_make_no_call(begun: Path) -> None:
    workspace = Workspace(begun / "judging")
    [old] = workspace.list("dialogues")
    before = parts(begun / "judging")
    # Nobody listens there.
    run = BegunRun(begun / "judging", "http://127.0.0.1:9/v1", begun / "model")
    characters, new = run.synthesise()
    assert parts(begun / "judging") == before
    assert characters.counts["ok"] == len(ADDRESSES["profiles"]) - characters.counts["rejected"]
    assert played(new.path) == played(old.path)


def played(dialogues: Path) -> list[tuple[Any, ...]]:
    rows = read_models(dialogues / "dialogues.jsonl.zst", DialogueRow)
    return [(row.row_id, row.session_id, row.character_id, row.strategy, row.turns) for row in rows]


@dataclass(frozen=True)
class WholeRun:
    """A run that nobody began before."""

    addresses: dict[str, dict[str, str]]
    requests: list[dict[str, Any]]
    calls: list[str]

    @property
    def asked_again(self) -> Counter[str]:
        """The calls besides those of 0.1.0."""
        return Counter(self.calls) - Counter(CALLS["whole"])


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    with FakeLLM(answer=answer) as server:
        run = BegunRun(tmp_path_factory.mktemp("whole") / "run", server.base_url, model)
        run.evaluate_all()
        assert set(server.outcomes) == {"ok"}
        return WholeRun(run.addresses(), [call.request for call in server.calls], sorted(asked(server)))


def test_a_new_run_has_the_addresses_and_the_calls_of_the_earlier_version(whole: WholeRun) -> None:
    """And no call more, but for judgements that cannot be read.

    0.1.0 left those out. Since then a judge is asked twice more, with other seeds, for no model is to lose or win by
    what its judge failed to say. Each of these calls has a row of its own; what 0.1.0 asked keeps its address.
    """
    assert not Counter(CALLS["whole"]) - Counter(whole.calls)
    replies: dict[str, list[bool]] = {}
    seeds: dict[str, set[int]] = {}
    for request in whole.requests:
        if request["model"] == "judge-1" and "response_format" in request:
            question = json.dumps(request["messages"])
            replies.setdefault(question, []).append(answer(request) != UNREADABLE)
            seeds.setdefault(question, set()).add(request["seed"])
    expected = [[True], [False, True], [False, False, True], [False, False, False]]
    assert all(read in expected for read in replies.values())
    assert sum(map(len, seeds.values())) == sum(map(len, replies.values())), "each time with another seed"
    again = sum(len(read) - 1 for read in replies.values())
    assert whole.asked_again.total() == again > 0

    assert {**whole.addresses, "evaluation": {}} == {**ADDRESSES, "evaluation": {}}
    assert ADDRESSES["evaluation"].items() <= whole.addresses["evaluation"].items()
    assert len(whole.addresses["evaluation"]) == len(ADDRESSES["evaluation"]) + again


def test_an_evaluation_that_an_earlier_version_began_asks_for_what_is_missing(begun: Path, whole: WholeRun) -> None:
    before = parts(begun / "judging")

    def finish(url: str) -> None:
        run = BegunRun(begun / "judging", url, begun / "model")
        run.evaluate()
        assert run.addresses() == whole.addresses

    assert Counter(calls_of(finish)) == Counter(CALLS["judging"]) + whole.asked_again
    assert before.items() <= parts(begun / "judging").items()
