"""What counts as a duplicate, and what must not."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rows import make_character, make_dialogue, make_turns, read_mixture, words

from opencharacter.mixing.duplicates import find_duplicate_personas
from opencharacter.records.models import Turn
from opencharacter.similarity import near_duplicates

NONE_HELD_OUT = {"characters": 0, "sessions": 0}
LONG = words(60, "a long answer")


def kept_ids(mixture):
    return {row.row_id for row in read_mixture(mixture)["train"]}


def answered(question, answer):
    return Turn(role="user", content=question), Turn(role="assistant", content=answer)


def with_one_word_changed(text):
    return " ".join(["changed", *text.split()[1:]])


def test_equal_rows_of_a_character_are_one_also_across_strategies_and_corpora(run_mix):
    character = make_character(1)
    first = make_dialogue(1, character, "R", row_id="a")
    again = make_dialogue(1, character, "G", row_id="b", turns=first.turns, corpus="other", session_id="x")

    mixture = run_mix([again, first], [character], held_out=NONE_HELD_OUT)

    assert kept_ids(mixture) == {"a"}
    assert mixture.counts["dropped_exact_duplicate"] == 1


def test_alike_answers_of_one_character_are_one_whatever_was_asked(run_mix):
    character = make_character(1)
    rows = [
        make_dialogue(1, character, row_id="a", turns=answered("first question", LONG)),
        make_dialogue(2, character, row_id="b", turns=answered("another one", with_one_word_changed(LONG))),
        make_dialogue(3, character, row_id="c"),
    ]

    mixture = run_mix(rows, [character], held_out=NONE_HELD_OUT)

    assert kept_ids(mixture) == {"a", "c"}
    assert mixture.counts["dropped_near_duplicate"] == 1


def test_answers_of_different_characters_are_never_compared(run_mix):
    characters = [make_character(number) for number in range(3)]
    rows = [make_dialogue(1, character, turns=answered("the same question", LONG)) for character in characters]

    mixture = run_mix(rows, characters, held_out=NONE_HELD_OUT)

    assert mixture.counts["train"] == 3


def test_short_answers_to_different_questions_stay(run_mix):
    character = make_character(1)
    rows = [make_dialogue(n, character, turns=answered(words(8, n), "Yes, of course.")) for n in range(5)]

    assert run_mix(rows, [character], held_out=NONE_HELD_OUT).counts["train"] == 5


def test_the_threshold_is_the_users(run_mix):
    character = make_character(1)
    rows = [
        make_dialogue(1, character, turns=answered("one", LONG)),
        make_dialogue(2, character, turns=answered("two", with_one_word_changed(LONG))),
    ]

    assert run_mix(rows, [character], held_out=NONE_HELD_OUT, answer_similarity=1).counts["train"] == 2


def test_characters_without_a_persona_are_told_apart_by_their_profiles():
    one = make_character(1, persona=None)
    duplicate = make_character(1, persona=None, age="91")
    other = make_character(2, persona=None)

    duplicates = find_duplicate_personas([one, duplicate, other], 0.8)

    assert duplicates == {max(one.id, duplicate.id): min(one.id, duplicate.id)}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param(
            "A retired lighthouse keeper who writes letters to people he has never met.",
            "a retired  lighthouse-keeper who writes letters to people he has never met",
            True,
            id="case, spacing, punctuation",
        ),
        pytest.param(
            "A baker in Lyon who talks to her sourdough starter as if it were an old friend.",
            "A welder in Lagos who sings to his bees as though they were the village choir.",
            False,
            id="same pattern, other person",
        ),
        pytest.param(
            "一位退休的灯塔看守人每天给素未谋面的人写一封信并且把它们装进瓶子里扔进大海从来不期待任何人的回复只是喜欢写作",
            "一位退休的灯塔看守人每天给素未谋面的人写一封信并且把它们装进瓶子里扔进大海从来不期待任何人的回复只是喜爱写作",
            True,
            id="language without spaces",
        ),
        pytest.param("A cook.", "A cook.", False, id="too short to tell"),
    ],
)
def test_near_duplicate_personas(one, other, expected):
    assert bool(near_duplicates([one, other], 0.8)) is expected


@given(st.integers(0, 2**32), st.sampled_from([0.7, 0.8, 0.9, 1.0]))
@settings(max_examples=10)
def test_index_and_all_pairs_agree(seed, threshold):
    draw = random.Random(seed)
    texts = [words(30, seed, n) for n in range(60)]
    for original in texts[:40]:
        changed = original.split()
        for _ in range(draw.randint(0, 4)):
            changed[draw.randrange(len(changed))] = words(1, draw.random())
        texts.append(" ".join(changed))
    draw.shuffle(texts)

    by_pairs = near_duplicates(texts, threshold, index_above=len(texts))
    by_index = near_duplicates(texts, threshold, index_above=0)

    # The index may miss a pair right at the threshold; what it finds is never wrong.
    assert len(by_pairs.keys() ^ by_index.keys()) <= 1
    assert all(by_pairs.get(text) == duplicate for text, duplicate in by_index.items() if text in by_pairs)


def test_several_turns_are_compared_as_a_whole(run_mix):
    character = make_character(1)
    one = make_turns(1, "x", turns=2, length=30)
    shared_start = (*one[:2], *make_turns(1, "y", turns=2, length=30)[2:])
    rows = [make_dialogue(1, character, turns=one), make_dialogue(2, character, turns=shared_start)]

    assert run_mix(rows, [character], held_out=NONE_HELD_OUT).counts["train"] == 2
