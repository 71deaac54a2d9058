"""A run begun by version 0.1.0 continues: no answered call is made again, and rows keep their addresses and bytes."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.begun_run import FOLDER, BegunRun, answer, asked
from support.fake_llm import FakeLLM

from opencharacter.records import DialogueRow
from opencharacter.storage import Workspace, read_models
from opencharacter.synthesis import dialogues

CALLS: dict[str, list[str]] = json.loads((FOLDER / "calls.json").read_text())
ADDRESSES: dict[str, dict[str, str]] = json.loads((FOLDER / "addresses.json").read_text())


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder with the workspaces `begun` and `judging`, and the model."""
    data = zstandard.ZstdDecompressor().stream_reader((FOLDER / "workspaces.tar.zst").read_bytes()).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


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


def test_an_evaluation_that_an_earlier_version_began_asks_for_what_is_missing(begun: Path) -> None:
    before = parts(begun / "judging")
    again = 0

    def finish(url: str) -> None:
        nonlocal again
        run = BegunRun(begun / "judging", url, begun / "model")
        run.evaluate()
        again = asked_again(run.addresses())

    assert more_calls(calls_of(finish), CALLS["judging"]) == again
    assert before.items() <= parts(begun / "judging").items()


def test_a_new_run_has_the_addresses_and_the_calls_of_the_earlier_version(begun: Path) -> None:
    again = 0

    def make(url: str) -> None:
        nonlocal again
        run = BegunRun(begun / "new", url, begun / "model")
        run.evaluate_all()
        again = asked_again(run.addresses())

    assert more_calls(calls_of(make), CALLS["whole"]) == again


def asked_again(addresses: dict[str, dict[str, str]]) -> int:
    """The judgements that 0.1.0 did not ask for: second and third replies where the first could not be read."""
    found = addresses["evaluation"]
    assert {**addresses, "evaluation": {}} == {**ADDRESSES, "evaluation": {}}
    assert ADDRESSES["evaluation"].items() <= found.items()
    unread = sum("no JSON" in words for words in ADDRESSES["evaluation"].values())
    more = len(found) - len(ADDRESSES["evaluation"])
    assert unread <= more <= 2 * unread
    return more


def more_calls(made: list[str], expected: list[str]) -> int:
    """How many calls were made besides those expected, none of which may be missing."""
    assert not Counter(expected) - Counter(made)
    return (Counter(made) - Counter(expected)).total()
