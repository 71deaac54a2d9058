"""The split grid: who is held out, and that nothing leaks between the cells."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rows import make_character, make_dialogue, make_grid, read_mixture

from opencharacter.mixing.mix_config import HeldOut
from opencharacter.mixing.split import make_split, session_key
from opencharacter.records.models import Turn

names = st.sets(st.text(min_size=1, max_size=8), max_size=40)
shares = st.builds(HeldOut, characters=st.floats(0, 0.95), sessions=st.floats(0, 0.95))


def question(*texts: str) -> str:
    return session_key([Turn(role="user", content=text) for text in texts])


@given(characters=names, sessions=names, shares=shares, seed=st.integers(0, 2**53))
@settings(max_examples=150)
def test_every_pair_has_one_cell_and_both_sides_have_members(characters, sessions, shares, seed):
    split = make_split(characters, sessions, shares, seed=seed)

    for who in characters:
        for what in sessions:
            cell = split.of(who, what)
            assert ("held_out_character" in cell or cell == "held_out_both") == (who in split.characters)
            assert ("held_out_session" in cell or cell == "held_out_both") == (what in split.sessions)
    for everyone, held_out, share in (
        (characters, split.characters, shares.characters),
        (sessions, split.sessions, shares.sessions),
    ):
        assert held_out <= everyone
        if share == 0:
            assert not held_out
        elif len(everyone) >= 2:
            assert 0 < len(held_out) < len(everyone)


def test_shares_are_kept_to_and_members_stay_where_they_are_as_data_grow():
    some = [f"c{number}" for number in range(2000)]
    more = some + [f"c{number}" for number in range(2000, 4000)]
    share = HeldOut(characters=0.1, sessions=0.3)

    small, large = (make_split(keys, keys, share, seed=3) for keys in (some, more))

    assert len(large.characters) == pytest.approx(400, abs=60)
    assert len(large.sessions) == pytest.approx(1200, abs=90)
    assert small.characters == large.characters & set(some)
    # Characters and sessions are drawn independently of each other, and anew for another seed.
    assert len(large.characters & large.sessions) == pytest.approx(120, abs=40)
    assert len(large.characters & make_split(more, more, share, seed=4).characters) == pytest.approx(40, abs=25)


def test_a_session_is_known_by_its_questions_alone():
    assert question("What is  LOVE?\n") == question("what is love?")
    assert question("ﬁne") == question("fine")
    assert question("a", "b") != question("a b")
    assert question("a") != question("a", "b")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_held_out_character_or_session_reaches_training(run_mix, seed):
    characters = [make_character(number) for number in range(8)]
    rows = make_grid(characters, range(8))
    # The same questions under another corpus' name, in other case, are the same session.
    other = [
        row.model_copy(
            update={
                "row_id": f"other-{row.row_id}",
                "corpus": "other",
                "session_id": f"other-{row.session_id}",
                "turns": tuple(
                    Turn(role="user", content=turn.content.upper())
                    if turn.role == "user"
                    else Turn(role="assistant", content=f"{turn.content[::-1]} {turn.content}")
                    for turn in row.turns
                ),
            }
        )
        for row in rows
    ]
    mixture = run_mix(rows + other, characters, seed=seed, held_out={"characters": 0.3, "sessions": 0.3})

    cells = read_mixture(mixture)
    found = {
        cell: ({row.character_id for row in part}, {session_key(row.messages) for row in part})
        for cell, part in cells.items()
    }
    train, new_session, new_character, new_both = (
        found[cell]
        for cell in (
            "train",
            "seen_character_held_out_session",
            "held_out_character_seen_session",
            "held_out_both",
        )
    )
    assert sum(map(len, cells.values())) == len(rows + other)
    assert all(who and what for who, what in found.values())
    assert train[0] == new_session[0]
    assert train[1] == new_character[1]
    assert train[0].isdisjoint(new_character[0] | new_both[0])
    assert train[1].isdisjoint(new_session[1] | new_both[1])
    assert new_character[0] == new_both[0]
    assert new_session[1] == new_both[1]
    assert {row.cell for row in cells["train"]} == {"train"}


def test_a_held_out_character_has_no_near_twin_in_training(run_mix):
    originals = [make_character(number) for number in range(20)]
    duplicates = [
        make_character(100 + number, persona=f"{original.persona.capitalize()}!")
        for number, original in enumerate(originals)
    ]
    mixture = run_mix(
        make_grid(originals + duplicates, range(3), "G"),
        originals + duplicates,
        held_out={"characters": 0.5, "sessions": 0},
    )

    rows = [row for part in read_mixture(mixture).values() for row in part]
    assert mixture.counts["dropped_duplicate_persona"] == 60
    assert json.loads((mixture.path / "statistics.json").read_text())["duplicate_personas"] == 20
    assert len({row.character_id for row in rows}) == 20
    personas = [
        character.persona.lower().rstrip("!")
        for character in originals + duplicates
        if character.id in {row.character_id for row in rows}
    ]
    assert len(set(personas)) == 20


def test_an_empty_cell_is_a_warning_and_an_empty_training_set_an_error(run_mix):
    one = [make_character(0)]
    mixture = run_mix(make_grid(one, range(4)), one, held_out={"characters": 0.5, "sessions": 0.5})

    empty = [cell for cell, rows in read_mixture(mixture).items() if not rows]
    assert empty == ["held_out_character_seen_session", "held_out_both"] or len(empty) == 2
    assert all(any(cell in warning for warning in mixture.stats["warnings"]) for cell in empty)


def test_order_of_the_input_does_not_change_a_byte(run_mix, tmp_path):
    from opencharacter.storage.workspace import Workspace

    characters = [make_character(number) for number in range(5)]
    rows = make_grid(characters, range(12))
    rows += [make_dialogue(100 + n, characters[0], turns=rows[0].turns) for n in range(3)]
    settings = {"weights": {"R": 1.5, "G": 0.5}, "prompt_views": {"persona": 1, "profile": 1}}
    first = run_mix(rows, characters, **settings)
    shuffled = random.Random(1).sample(rows, len(rows))

    second = run_mix(shuffled, characters[::-1], into=Workspace(tmp_path / "second"), **settings)

    assert first.key != second.key
    assert first.digest == second.digest
