from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_mixture import HELD_OUT, SEEN, make_mixture, make_row, small_rows

from opencharacter.characters import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.evaluation import EvaluateConfig
from opencharacter.evaluation.questions import pick_questions, pick_smoke_question
from opencharacter.records.models import Turn

ALL = EvaluateConfig(train_rows=1000)
NAMES = {character.id: character.name for character in [*SEEN, *HELD_OUT]}


def test_every_cell_is_sampled_to_its_limit(mixture) -> None:
    questions = pick_questions(EvaluateConfig(rows_per_cell=4, train_rows=3), mixture, seed=1)
    assert Counter(question.row.cell for question in questions) == {
        "train": 3,
        "seen_character_held_out_session": 4,
        "held_out_character_seen_session": 4,
        "held_out_both": 4,
    }


def test_a_larger_sample_holds_the_smaller_one_in_the_same_order(mixture) -> None:
    few = pick_questions(EvaluateConfig(rows_per_cell=2, train_rows=2), mixture, seed=1)
    many = pick_questions(EvaluateConfig(train_rows=9), mixture, seed=1)
    for cell in {question.row.cell for question in few}:
        small = [question.row.row_id for question in few if question.row.cell == cell]
        assert [question.row.row_id for question in many if question.row.cell == cell][: len(small)] == small


def test_the_seed_decides_the_sample(mixture) -> None:
    limits = EvaluateConfig(rows_per_cell=3, train_rows=3)
    samples = {
        tuple(question.row.row_id for question in pick_questions(limits, mixture, seed)) for seed in (1, 1, 2, 3)
    }
    assert len(samples) == 3


@settings(max_examples=25)
@given(seed=st.integers(0, 2**53))
def test_the_wrong_profile_is_of_another_character_of_the_same_side(tmp_path_factory, seed: int) -> None:
    from opencharacter.storage.workspace import Workspace

    mixture = make_mixture(Workspace(tmp_path_factory.mktemp("w")), small_rows())
    for question in pick_questions(ALL, mixture, seed):
        wrong = question.swapped[0].content
        shown = [name for name in NAMES.values() if f"You are {name}." in wrong]
        assert len(shown) == 1
        assert shown[0] != question.character.name
        assert shown[0].split()[0] == question.character.name.split()[0]  # Seen or New
        assert question.swapped[1:] == question.row.messages[1:]


def test_the_wrong_profile_is_shown_in_the_view_of_the_row(workspace) -> None:
    from opencharacter.characters import system_prompt

    rows = []
    for character in SEEN:
        row = make_row("train", character, 1)
        system = Turn(role="system", content=system_prompt(character, view="persona"))
        rows.append(row.model_copy(update={"prompt_view": "persona", "messages": [system, *row.messages[1:]]}))
    prompts = {system_prompt(character, view="persona") for character in SEEN}
    for question in pick_questions(ALL, make_mixture(workspace, rows), seed=3):
        assert question.swapped[0].content in prompts


def test_a_lone_character_and_general_rows_have_no_wrong_profile(workspace) -> None:
    rows = [make_row("train", SEEN[0], 1), make_row("held_out_both", HELD_OUT[0], 2), make_row("train", None, 3)]
    questions = pick_questions(ALL, make_mixture(workspace, rows), seed=1)
    assert [question.swapped for question in questions] == [None, None, None]
    assert sum(question.character is None for question in questions) == 1


def test_what_is_asked_ends_in_the_last_user_turn(workspace) -> None:
    (question,) = pick_questions(ALL, make_mixture(workspace, [make_row("train", SEEN[0], 3)]), seed=1)
    assert [turn.role for turn in question.conversation] == ["system", "user", "assistant", "user"]


def test_a_mixture_of_another_template_is_refused(workspace, tmp_path, monkeypatch) -> None:
    mixture = make_mixture(workspace, small_rows())
    (tmp_path / "system.md").write_text("Play {{name}}.\n\n{{persona}}\n\n{{profile}}")
    monkeypatch.setenv("OPENCHARACTER_PROMPTS", str(tmp_path))
    with pytest.raises(UserError, match=r"row [0-9a-f]+: its system message is not what"):
        pick_questions(ALL, mixture, seed=1)


def test_a_mixture_without_rows_is_refused(workspace) -> None:
    with pytest.raises(UserError, match="every cell of the split grid is empty"):
        pick_questions(ALL, make_mixture(workspace, []), seed=1)


def test_the_smoke_question_is_of_the_cell_that_the_model_knows_least(mixture) -> None:
    questions = pick_questions(ALL, mixture, seed=1)
    asked = pick_smoke_question(questions)
    assert asked == pick_smoke_question(pick_questions(ALL, mixture, seed=1))
    (first, *_) = [question for question in questions if question.row.cell == "held_out_both"]
    assert asked["question"] == first.row.messages[1].content
    assert asked["character"]["name"] == first.character.name
    assert CharacterProfile.model_validate(asked["character"]).id == first.character.id


def test_a_smoke_question_that_is_too_long_for_a_tag_is_passed_over(workspace) -> None:
    long = make_row("held_out_both", HELD_OUT[0], 1)
    long.messages[1] = Turn(role="user", content="é" * 10_000)
    short = make_row("train", SEEN[0], 1)
    general = make_row("held_out_both", None, 2)
    asked = pick_smoke_question(pick_questions(ALL, make_mixture(workspace, [long, short, general]), seed=1))
    assert asked["character"]["name"] == SEEN[0].name
    assert pick_smoke_question(pick_questions(ALL, make_mixture(workspace, [long, general]), seed=1)) is None
