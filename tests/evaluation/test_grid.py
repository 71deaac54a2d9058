from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_mixture import HELD_OUT, SEEN, make_mixture, make_row, small_rows

from opencharacter.characters import CharacterProfile, system_prompt
from opencharacter.errors import UserError
from opencharacter.evaluation import EvaluateConfig
from opencharacter.evaluation.grid import pick_items, pick_smoke_question
from opencharacter.records.models import Turn

ALL = EvaluateConfig(train_rows=1000)
NAMES = {character.id: character.name for character in [*SEEN, *HELD_OUT]}


def test_every_cell_is_sampled_to_its_limit(mixture) -> None:
    items = pick_items(EvaluateConfig(rows_per_cell=4, train_rows=3), mixture, seed=1).items
    assert Counter(item.cell for item in items) == {
        "train": 3,
        "seen_character_held_out_session": 4,
        "held_out_character_seen_session": 4,
        "held_out_both": 4,
    }


def test_a_larger_sample_holds_the_smaller_one_in_the_same_order(mixture) -> None:
    few = pick_items(EvaluateConfig(rows_per_cell=2, train_rows=2), mixture, seed=1).items
    many = pick_items(EvaluateConfig(train_rows=9), mixture, seed=1).items
    for cell in {item.cell for item in few}:
        small = [item.id for item in few if item.cell == cell]
        assert [item.id for item in many if item.cell == cell][: len(small)] == small


def test_the_seed_decides_the_sample(mixture) -> None:
    limits = EvaluateConfig(rows_per_cell=3, train_rows=3)
    samples = {tuple(item.id for item in pick_items(limits, mixture, seed).items) for seed in (1, 1, 2, 3)}
    assert len(samples) == 3


@settings(max_examples=25)
@given(seed=st.integers(0, 2**53))
def test_the_wrong_profile_is_of_another_character_of_the_same_side(tmp_path_factory, seed: int) -> None:
    from opencharacter.storage.workspace import Workspace

    mixture = make_mixture(Workspace(tmp_path_factory.mktemp("w")), small_rows())
    for item in pick_items(ALL, mixture, seed).items:
        assert item.wrong_character_id != item.character_id
        # Seen or New
        assert NAMES[item.wrong_character_id].split()[0] == NAMES[item.character_id].split()[0]


def test_an_item_is_shown_in_the_view_of_its_row(workspace) -> None:
    rows = []
    for character in SEEN:
        row = make_row("train", character, 1)
        system = Turn(role="system", content=system_prompt(character, view="persona"))
        rows.append(row.model_copy(update={"prompt_view": "persona", "messages": [system, *row.messages[1:]]}))
    assert {item.view for item in pick_items(ALL, make_mixture(workspace, rows), seed=3).items} == {"persona"}


def test_a_lone_character_and_general_rows_have_no_wrong_profile(workspace) -> None:
    rows = [make_row("train", SEEN[0], 1), make_row("held_out_both", HELD_OUT[0], 2), make_row("train", None, 3)]
    items = pick_items(ALL, make_mixture(workspace, rows), seed=1).items
    assert [item.wrong_character_id for item in items] == [None, None, None]
    assert sum(item.character_id is None for item in items) == 1


def test_what_is_asked_ends_in_the_last_user_turn_and_the_rest_is_the_reference(workspace) -> None:
    row = make_row("train", SEEN[0], 3)
    (item,) = pick_items(ALL, make_mixture(workspace, [row]), seed=1).items
    assert [turn.role for turn in item.turns] == ["user", "assistant", "user"]
    assert item.reference == row.messages[-1].content


def test_a_mixture_of_another_template_is_refused(workspace, tmp_path, monkeypatch) -> None:
    mixture = make_mixture(workspace, small_rows())
    (tmp_path / "system.md").write_text("Play {{name}}.\n\n{{persona}}\n\n{{profile}}")
    monkeypatch.setenv("OPENCHARACTER_PROMPTS", str(tmp_path))
    with pytest.raises(UserError, match=r"row [0-9a-f]+: its system message is not what"):
        pick_items(ALL, mixture, seed=1)


def test_a_mixture_without_rows_is_refused(workspace) -> None:
    with pytest.raises(UserError, match="every cell of the split grid is empty"):
        pick_items(ALL, make_mixture(workspace, []), seed=1)


def test_the_smoke_question_is_of_the_cell_that_the_model_knows_least(mixture) -> None:
    items, characters = pick_items(ALL, mixture, seed=1)
    asked = pick_smoke_question(items, characters)
    assert asked == pick_smoke_question(*pick_items(ALL, mixture, seed=1))
    (first, *_) = [item for item in items if item.cell == "held_out_both"]
    assert asked["question"] == first.turns[0].content
    assert asked["character"]["name"] == NAMES[first.character_id]
    assert CharacterProfile.model_validate(asked["character"]).id == first.character_id


def test_a_smoke_question_that_is_too_long_for_a_tag_is_passed_over(workspace) -> None:
    long = make_row("held_out_both", HELD_OUT[0], 1)
    long.messages[1] = Turn(role="user", content="é" * 10_000)
    short = make_row("train", SEEN[0], 1)
    general = make_row("held_out_both", None, 2)
    asked = pick_smoke_question(*pick_items(ALL, make_mixture(workspace, [long, short, general]), seed=1))
    assert asked["character"]["name"] == SEEN[0].name
    assert pick_smoke_question(*pick_items(ALL, make_mixture(workspace, [long, general]), seed=1)) is None
