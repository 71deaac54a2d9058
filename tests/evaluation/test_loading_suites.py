"""Everything wrong with a suite is named when it is loaded, with file and line or key."""

import json
import shutil
from pathlib import Path

import pytest
from support.small_suite import ITEMS, SUITE, write_suite

from opencharacter.errors import UserError
from opencharacter.evaluation.choosing import chosen_suite
from opencharacter.evaluation.evaluation_config import SuiteChoice
from opencharacter.evaluation.suites import load_suite, suite_names

RUBRIC = {"kind": "rubric", "tasks": {"voice": "voice.md", "facts": "facts.md"}}
LATIN = {"id": "x", "task": "voice", "turns": [{"role": "user", "content": "Hic?"}]}


def test_a_suite_of_ones_own_needs_no_code(tmp_path: Path) -> None:
    suite = load_suite(write_suite(tmp_path / "small"))
    assert [item.id for item in suite.items()] == ["storm", "home", "tea"]
    assert {item.suite for item in suite.items()} == {"small"}
    assert {item.license for item in suite.items()} == {"CC0-1.0"}
    personas = {character.persona for character in suite.characters().values()}
    assert personas == {"A ferryman who counts geese.", "A judge of teas."}


@pytest.mark.parametrize("name", suite_names())
def test_every_packaged_suite_loads(name: str) -> None:
    if name != "arena":
        assert load_suite(name).digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": []}, r"items\.jsonl: holds no items"),
        ({"items": [*ITEMS, ITEMS[0]]}, r"items\.jsonl:4: id: 'storm' is also the id of line 1"),
        ({"items": [LATIN | {"task": "smell"}]}, r"items\.jsonl:1: task: no measure of the suite takes .*'smell'"),
        ({"items": [LATIN | {"character_id": "nobody"}]}, r"items\.jsonl:1: character_id: .* no character 'nobody'"),
        ({"items": [LATIN | {"character": {"age": "5"}}]}, r"items\.jsonl:1: character: needs a name or a persona"),
        ({"items": [LATIN | {"turns": []}]}, r"items\.jsonl:1: turns: must end in a user turn"),
        ({"items": [LATIN | {"answer": "x"}]}, r"items\.jsonl:1: answer: Extra inputs"),
        ({"texts": {"voice.md": "Is {{moon}} full?"}}, r"measures\.0\.tasks\.voice: .*voice\.md: .* {{moon}}"),
        ({"texts": {"p.md": "{{answer}}"}, "measures": [RUBRIC | {"prompt": "p.md"}]}, r"p\.md: must hold .*aspect"),
        ({"measures": [RUBRIC | {"tasks": {"voice": "gone.md"}}]}, r"tasks\.voice: there is no file .*gone\.md"),
        ({"measures": [RUBRIC | {"examples": "facts.md"}]}, r"tasks\.voice: .*voice\.md: lacks its examples"),
        ({"texts": {"voice.md": "{{examples}}"}}, r"holds {{examples}}, and no text makes them"),
        ({"measures": [RUBRIC | {"scale": [5, 1]}]}, r"measures\.0\.scale: expected the lowest score"),
        ({"measures": [{"kind": "vibes"}]}, r"suite\.yaml:\d+: measures\.0"),
        ({"system_prompt": "mine.md", "texts": {"mine.md": "Be {{animal}}."}}, r"system_prompt: .*{{animal}}"),
        ({"items_": 1}, r"suite\.yaml:\d+: items_: unknown key; did you mean 'items'"),
        ({"history": "own", "items": [LATIN | {"turns": [{"role": "assistant", "content": "x"}, *LATIN["turns"]]}]},
         r"items\.jsonl:1: turns: holds an assistant turn"),
    ],
)  # fmt: skip
def test_a_fault_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_suite(write_suite(tmp_path / "small", **changes))


def test_a_draw_takes_items_that_no_other_draw_has(tmp_path: Path) -> None:
    items = [
        {
            "id": f"{who}-{number}",
            "task": "voice",
            "character": who,
            "turns": [{"role": "user", "content": f"{number}?"}],
        }
        for who in ("A judge of teas.", "A ferryman.")
        for number in range(5)
    ]
    taking = {"items": {"path": "items.jsonl", "take": {"first": 2, "per": ["character_id"]}}}
    folder = write_suite(tmp_path / "small", items=items)
    (folder / "suite.yaml").write_text(json.dumps(SUITE | taking))
    draws = [load_suite(folder, draw=number) for number in range(3)]
    asked = [[item.id.rpartition("-")[2] for item in suite.items()] for suite in draws]
    assert asked == [["0", "1"] * 2, ["2", "3"] * 2, ["4"] * 2]
    assert len({suite.items_digest for suite in draws}) == len({suite.digest for suite in draws}) == 3
    assert load_suite(folder).digest == draws[0].digest
    with pytest.raises(UserError, match="suite small: draw 3: there are no items left"):
        load_suite(folder, draw=3)
    chosen = SuiteChoice(suite=str(folder), first=1, draw=1)
    assert [item.id.rpartition("-")[2] for item in chosen_suite(chosen).items()] == ["1", "1"]


def test_made_questions_have_draws_and_written_ones_have_none() -> None:
    questions = [
        {item.turns[0].content for item in load_suite("assistant", draw=number).items() if "arithmetic" in item.tags}
        for number in (0, 1)
    ]
    assert questions[0].isdisjoint(questions[1])
    with pytest.raises(UserError, match="suite frozen: there is no other draw"):
        load_suite("frozen", draw=1)


def test_a_name_that_is_no_suite_gets_the_names_of_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no packaged suite has that name") as error:
        load_suite("frosen")
    assert "frozen" in str(error.value.hint)


def test_the_version_changes_with_items_texts_and_settings_and_not_with_the_place(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "small")
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert load_suite(moved).digest == load_suite(folder).digest
    digests = {load_suite(folder).digest}
    for name, changes in enumerate(
        ({"items": ITEMS[:2]}, {"texts": {"voice.md": "Other words."}}, {"answer": {"temperature": 0.1}})
    ):
        digests.add(load_suite(write_suite(tmp_path / str(name), **changes)).digest)
    assert len(digests) == 4


def test_the_first_items_of_each_group_are_taken(tmp_path: Path) -> None:
    config = {"items": {"path": "questions.jsonl", "take": {"first": 1, "per": ["task"]}}}
    folder = write_suite(tmp_path / "small")
    (folder / "items.jsonl").rename(folder / "questions.jsonl")
    (folder / "suite.yaml").write_text(json.dumps(SUITE | config))
    assert [item.id for item in load_suite(folder).items()] == ["storm", "home"]
