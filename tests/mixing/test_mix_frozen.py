"""What suites compare models with is kept out of training: their characters and their questions."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from support.rows import make_character, make_dialogue, read_mixture

from opencharacter.characters import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.mixing.frozen import SUITES, frozen_texts
from opencharacter.records.models import Turn


def rows_of(suite: str, name: str) -> list[dict[str, Any]]:
    text = (resources.files("opencharacter.suites") / suite / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def frozen_character(number: int = 0, **changes: Any) -> CharacterProfile:
    return CharacterProfile.model_validate(rows_of("frozen", "characters.jsonl")[number] | changes)


def dialogue(number: int, character: CharacterProfile, questions: list[str] | None = None) -> Any:
    row = make_dialogue(number, character)
    if questions is None:
        return row
    turns = [turn for text in questions for turn in (Turn(role="user", content=text), row.turns[1])]
    return row.model_copy(update={"turns": tuple(turns)})


def read_row_ids(mixture: Any) -> set[str]:
    return {row.row_id for rows in read_mixture(mixture).values() for row in rows}


PLAIN = frozen_character()
CHANGED = {
    "as it is": PLAIN,
    "spacing and case": CharacterProfile.model_validate(
        {
            key: value.upper().replace(" ", "  ")
            for key, value in PLAIN.model_dump(exclude_none=True).items()
            if isinstance(value, str)
        }
    ),
    "another name": frozen_character(name="Somebody Else", age="44"),
    "profile only": frozen_character(persona=None),
    "persona only": CharacterProfile(persona=f"  {PLAIN.persona}"),
    "typographic quotes": frozen_character(
        persona=None, personality=None, appearance=None, experience=PLAIN.experience.replace("'", "’")
    ),
}


@pytest.mark.parametrize("character", CHANGED.values(), ids=CHANGED)
def test_a_frozen_character_is_dropped_however_it_is_written(run_mix, character):
    other = make_character(1)

    mixture = run_mix([dialogue(1, character), dialogue(2, other), dialogue(4, other)], [character, other])

    assert {row.character_id for rows in read_mixture(mixture).values() for row in rows} == {other.id}
    assert character.id not in (mixture.path / "characters.jsonl.zst").read_bytes().decode("latin-1")
    assert mixture.counts["dropped_frozen_character"] == 1
    assert json.loads((mixture.path / "statistics.json").read_text())["dropped"] == {"frozen_character": 1}


def test_a_frozen_question_is_dropped_whoever_answers_and_wherever_it_stands(run_mix, tmp_path):
    asked = next(
        row["turns"][0]["content"] for row in rows_of("frozen", "items.jsonl") if len(row["turns"][0]["content"]) > 60
    )
    character = make_character(1)
    rows = [
        dialogue(1, character, [asked.upper()]),
        dialogue(2, character, ["Good morning to you.", f" {asked}\n", "And then?"]),
        dialogue(3, character),
        dialogue(5, character, ["And then?"]),
    ]
    general = tmp_path / "general.jsonl"
    chats = [[asked], ["What rhymes with orange?"]]
    general.write_text(
        "".join(
            json.dumps(
                {
                    "messages": [{"role": "user", "content": text} for text in chat]
                    + [{"role": "assistant", "content": "Yes."}]
                }
            )
            + "\n"
            for chat in chats
        )
    )

    mixture = run_mix(rows, [character], general=[{"name": "chats", "uri": str(general), "license": "MIT"}])

    assert mixture.counts["dropped_frozen_session"] == 3
    assert {rows[2].row_id, rows[3].row_id} < read_row_ids(mixture)
    assert len(read_row_ids(mixture)) == 3


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_of_our_own_is_kept_out(run_mix, suite):
    character = make_character(1)
    items = rows_of(suite, "items.jsonl")[:5]
    frozen = [CharacterProfile.model_validate(row) for row in rows_of(suite, "characters.jsonl")][:5]
    rows = [
        dialogue(n, character, [t["content"] for t in item["turns"] if t["role"] == "user"])
        for n, item in enumerate(items)
    ]
    rows += [dialogue(20 + number, one) for number, one in enumerate(frozen)]
    kept = dialogue(99, character)

    mixture = run_mix([*rows, kept], [character, *frozen])

    assert read_row_ids(mixture) == {kept.row_id}
    assert mixture.counts["dropped_frozen_session"] == len(items)
    assert mixture.counts["dropped_frozen_character"] == len(frozen)


def test_a_short_phrase_of_a_long_dialogue_may_be_said_elsewhere(run_mix):
    character = make_character(1)
    shown = next(
        row
        for row in rows_of("frozen", "items.jsonl")
        if len(row["turns"]) > 1 and len(row["turns"][0]["content"]) < 38
    )

    mixture = run_mix([dialogue(1, character, [shown["turns"][0]["content"]])], [character])

    assert mixture.counts["train"] == 1


def own_suite(folder: Path, *items: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "suite.yaml").write_text("name: own\nitems: {path: items.jsonl}\nmeasures: [{kind: refusal}]\n")
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder


def test_suites_that_a_run_names_are_kept_out_too(run_mix, tmp_path):
    asked = "Which of your brothers took the boat out on the night of the storm?"
    named, persona, listed = (make_character(number) for number in (1, 2, 3))
    persona = persona.model_copy(update={"persona": "A toll keeper who has not crossed her own bridge in ten years."})
    suite = own_suite(
        tmp_path / "own",
        {"turns": [{"role": "user", "content": asked}], "character": named.model_dump(mode="json", exclude_none=True)},
        {"turns": [{"role": "user", "content": "Who may pass?"}], "character": persona.persona},
        {"turns": [{"role": "user", "content": "Well?"}], "character_id": "listed"},
    )
    profile = listed.model_dump(mode="json", exclude_none=True) | {"id": "listed"}
    (suite / "characters.jsonl").write_text(json.dumps(profile) + "\n")
    others = [make_character(number) for number in (4, 5)]
    rows = [dialogue(number, one) for number, one in enumerate((named, persona, listed, *others, *others))]
    rows.append(dialogue(20, others[0], [asked.upper()]))

    mixture = run_mix(rows, [named, persona, listed, *others], frozen_suites=[str(suite)])

    assert read_row_ids(mixture) == {row.row_id for row in rows[3:7]}
    assert (mixture.counts["dropped_frozen_character"], mixture.counts["dropped_frozen_session"]) == (3, 1)
    whole = run_mix(rows, [named, persona, listed, *others])
    assert len(read_row_ids(whole)) == len(rows), "without the key nothing of it is known"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda suite: (suite / "suite.yaml").unlink(), r"suite\.yaml: no such file"),
        (lambda suite: (suite / "items.jsonl").unlink(), r"items\.path: there is no file .*items\.jsonl"),
        (lambda suite: (suite / "suite.yaml").write_text("items: {generator: arithmetic}"), "no items of its own"),
        (lambda suite: (suite / "items.jsonl").write_text('{"turns": []}\n{}\n'), r"items\.jsonl:2: turns: "),
    ],
    ids=["no suite", "no items", "generated items", "a line"],
)
def test_a_suite_that_cannot_be_read_is_an_error_that_names_the_place(tmp_path, break_it, message):
    suite = own_suite(tmp_path / "own", {"turns": [{"role": "user", "content": "Who may pass?"}]})
    break_it(suite)
    with pytest.raises(UserError, match=message):
        frozen_texts([str(suite)])


def test_a_mixture_of_frozen_characters_only_is_an_error_that_says_so(run_mix):
    character = frozen_character(3)
    with pytest.raises(UserError, match=r"all 2 are of characters or questions that are kept for evaluation") as caught:
        run_mix([dialogue(1, character), dialogue(2, character)], [character])
    assert "train on other personas" in str(caught.value.hint)
