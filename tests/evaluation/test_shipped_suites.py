"""The suites of our own: what they hold, that it is sound, and that it is ours."""

import json
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from opencharacter.characters import CharacterProfile, render_profile
from opencharacter.evaluation.arithmetic import arithmetic_items
from opencharacter.evaluation.measures.check_kinds import KINDS, failed_kinds, parse_checks
from opencharacter.evaluation.suites import Suite, load_suite
from opencharacter.mixing.frozen import SUITES
from opencharacter.records.evaluation import Check, Item
from opencharacter.similarity import are_similar, near_duplicates, shingles

GENERIC = (
    "I'm sorry, I can't help with that.",
    "Ah, my friend, sit down! Let me tell you a story of my village, where the rain, the bread and the bell are older"
    " than any of us. You will laugh, I think. And then you will eat.",
)


@pytest.fixture(scope="module", params=SUITES)
def suite(request: pytest.FixtureRequest) -> Suite:
    return load_suite(request.param)


def questions(item: Item) -> str:
    return "\n".join(turn.content for turn in item.turns if turn.role == "user")


def described(character: CharacterProfile) -> str:
    return f"{character.persona or ''}\n{render_profile(character)}"


def demo_texts() -> list[str]:
    folder = resources.files("opencharacter.data") / "demo"
    personas = [json.loads(line)["persona"] for line in (folder / "personas.jsonl").read_text().splitlines()]
    sessions = [json.loads(line)["messages"] for line in (folder / "sessions.jsonl").read_text().splitlines()]
    own = json.loads((folder / "character.json").read_text())
    return [*personas, *own.values(), *(turn["content"] for turns in sessions for turn in turns)]


def test_size_and_clusters(suite: Suite) -> None:
    items, characters = suite.items(), suite.characters()
    instructions = len({item.session_id for item in items})
    fewest = {"frozen": (120, 40), "safety": (144, 24), "assistant": (150, 50), "scenes": (20, 20)}
    assert (instructions, len(characters)) >= fewest[suite.name]
    assert {item.character_id for item in items} == set(characters)
    by_task = {task: {item.character_id for item in items if item.task == task} for task in {i.task for i in items}}
    assert min(map(len, by_task.values())) >= 20  # fewer clusters decide nothing
    assert max(Counter(item.character_id for item in items).values()) <= 10


def test_ids_are_unique_and_speak_for_themselves(suite: Suite) -> None:
    ids = [item.id for item in suite.items()]
    assert len(set(ids)) == len(ids)
    assert all(part.isalnum() for name in ids for part in name.split("-"))
    assert [item.id for item in load_suite(suite.name).items()] == ids


def test_licences_are_given(suite: Suite) -> None:
    assert suite.config.license == "CC0-1.0"
    assert suite.config.source
    assert {item.license for item in suite.items()} == {"CC0-1.0"}
    licences = {each.provenance.licence if each.provenance else None for each in suite.characters().values()}
    assert licences == {"CC0-1.0"}


def test_no_two_items_ask_the_same(suite: Suite) -> None:
    asked = {item.session_id: questions(item) for item in suite.items() if "arithmetic" not in item.tags}
    texts = list(asked.values())
    assert {text for text, count in Counter(texts).items() if count > 1} == set()
    assert near_duplicates(texts, 0.6) == {}


def test_no_two_characters_of_any_suite_are_alike() -> None:
    everybody = [each for name in SUITES for each in load_suite(name).characters().values()]
    assert near_duplicates([described(each) for each in everybody], 0.5) == {}
    names = Counter(each.name for each in everybody if each.name)
    assert {name for name, count in names.items() if count > 1} == set()


def test_nothing_is_taken_from_the_demo(suite: Suite) -> None:
    texts = [questions(item) for item in suite.items()] + [described(each) for each in suite.characters().values()]
    texts += [item.reference for item in suite.items() if item.reference]
    demo = [shingles(text) for text in demo_texts()]
    own = [shingles(text) for text in texts]
    assert not [one for one in own if one and any(are_similar(one, other, 0.3) for other in demo if other)]


def test_frozen_items_have_references_in_character() -> None:
    items = load_suite("frozen").items()
    lengths = [len((item.reference or "").split()) for item in items]
    assert min(lengths) >= 40
    assert max(lengths) <= 150
    assert near_duplicates([item.reference or "" for item in items], 0.3) == {}
    assert sum(len(item.turns) > 1 for item in items) >= 15
    people = load_suite("frozen").characters().values()
    assert sum(each.name is None for each in people) >= 5
    assert sum("villain" in item.tags for item in items) >= 12


def test_safety_items_say_what_is_right() -> None:
    items = load_suite("safety").items()
    right = Counter(item.task for item in items)
    assert right["refuse"] == right["comply"] == 48
    assert right["care"] == right["honest"] == 24
    assert all(item.task in item.tags for item in items)
    sides = Counter((item.task, "villain" if "villain" in item.tags else "kind") for item in items)
    assert sides["refuse", "villain"] == sides["refuse", "kind"]
    assert sides["comply", "villain"] == sides["comply", "kind"]


def test_assistant_items_are_asked_in_character_and_plainly() -> None:
    items = load_suite("assistant").items()
    by_session: dict[str, list[Item]] = {}
    for item in items:
        by_session.setdefault(item.session_id, []).append(item)
    for pair in by_session.values():
        assert [(item.task, item.view) for item in pair] == [("in_character", None), ("plain", "none")]
        assert pair[0].turns == pair[1].turns
        assert pair[0].checks == pair[1].checks
        assert pair[0].character_id == pair[1].character_id


def test_the_documentation_names_every_check() -> None:
    text = (Path(__file__).parents[2] / "docs" / "suites.md").read_text(encoding="utf-8")
    assert {kind for kind in KINDS if f"`{kind}`" not in text.split("### Checks")[1]} == set()
    example = next(line for line in text.splitlines() if line.startswith('{"id": "soup"'))
    checks = [Check.model_validate(check) for check in json.loads(example)["checks"]]
    assert failed_kinds(parse_checks(checks, "example"), "- leek\n- pea\n- beet\n- fish") == []


def test_each_assistant_instruction_can_be_followed_and_failed() -> None:
    rows = (Path(__file__).parent / "assistant_answers.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {row["session"]: row["answer"] for row in map(json.loads, rows)}
    items = {item.session_id: item for item in load_suite("assistant").items() if "arithmetic" not in item.tags}
    checks = {name: parse_checks(item.checks, name) for name, item in items.items()}
    assert {name: failed for name in items if (failed := failed_kinds(checks[name], answers[name]))} == {}
    easy = [name for name in items if any(not failed_kinds(checks[name], answer) for answer in GENERIC)]
    assert len(easy) <= len(items) * 0.05, easy


def test_arithmetic_is_made_by_seed() -> None:
    first = arithmetic_items("assistant", ["a", "b"], count=60)
    assert arithmetic_items("assistant", ["a", "b"], count=60) == first
    other = arithmetic_items("assistant", ["a", "b"], count=60, draw=1)
    assert not {questions(item) for item in first} & {questions(item) for item in other}
    assert not {item.id for item in first} & {item.id for item in other}
    assert len({questions(item) for item in first}) == 60
    assert [item.character_id for item in first[:4]] == ["a", "a", "b", "b"]
    assert {item.view for item in arithmetic_items("assistant", [], count=3)} == {"none"}
    assert questions(first[0]).startswith("A storehouse holds 196 seashells. 65 are sold and 94 are delivered.")
    assert first[0].checks[0].model_dump() == {"kind": "number", "value": 196 - 65 + 94}
