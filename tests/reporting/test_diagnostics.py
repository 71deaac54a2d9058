"""What the report counts in the dialogues: variety, copies between characters, facts that contradict the profile."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.small_run import OutputMaker, dialogue, profile, session

from opencharacter.characters.profile import CharacterProfile
from opencharacter.reporting import ReportInputs, write_report
from opencharacter.reporting.diversity import Sample, copies_between_characters, distinct_n, words_of
from opencharacter.reporting.profile_facts import check_facts

ROSA = profile("Rosa Quispe")
IVAN = profile("Ivan Petrov", age="27", gender="Male", birth_place="Omsk, Russia", experience="Drives a tram in Tomsk.")
LONG = "First knead the dough until it is smooth, then let it rest for an hour under a damp cloth by the stove."


def row(answer: str, character: CharacterProfile = ROSA, strategy: str = "G", name: str = "s1") -> dict[str, Any]:
    return dialogue(strategy, session(name, "Well?", "No."), character, answer).model_dump(mode="json")


def test_distinct_n_counts_sequences_of_words_within_an_answer() -> None:
    texts = ["The sea is the sea.", "The sea!"]
    assert words_of(texts[0]) == ["the", "sea", "is", "the", "sea"]
    assert distinct_n(texts, 1, words=7) == pytest.approx(3 / 7)
    assert distinct_n(texts, 2, words=7) == pytest.approx(3 / 5)  # the sea, sea is, is the, the sea, the sea
    assert distinct_n(texts, 3, words=7) == pytest.approx(3 / 3)
    assert distinct_n(texts, 1, words=2) == 1.0
    assert distinct_n(["one"], 2, words=9) is None


def test_texts_without_spaces_are_compared_by_their_characters() -> None:
    assert words_of("潮水从不等人。OK") == [*"潮水从不等人", "ok"]


def rows(sessions: int, characters: int) -> Iterator[dict[str, Any]]:
    for number in range(sessions):
        for character in range(characters):
            yield row(f"Answer {number} of {character}", profile(f"C{character}"), name=f"s{number}")


def test_a_sample_is_bounded_and_keeps_whole_sessions_whatever_the_order() -> None:
    made = list(rows(40, 5))
    one, other = Sample(limit=23), Sample(limit=23)
    for each in made:
        one.add(each)
    for each in reversed(made):
        other.add(each)
    assert (one.seen, len(one.rows)) == (200, 20)
    assert {r["row_id"] for r in one.rows} == {r["row_id"] for r in other.rows}
    assert len({r["session_id"] for r in one.rows}) == 4


def test_a_session_that_is_larger_than_the_sample_is_cut() -> None:
    sample = Sample(limit=8)
    for each in rows(1, 50):
        sample.add(each)
    assert len(sample.rows) == 8


def test_the_same_answer_of_two_characters_is_a_copy_and_of_one_is_not() -> None:
    alike = LONG.replace("an hour", "one hour")
    found = copies_between_characters([row(LONG), row(alike, IVAN), row("No.", IVAN, "R"), row("No.")])
    assert (found.compared, found.copies, found.same_session) == (4, 1, 1)
    assert {found.examples[0].character_id, found.examples[0].other_id} == {ROSA.id, IVAN.id}
    assert copies_between_characters([row(LONG), row(alike, name="s2")]).copies == 0
    assert copies_between_characters([row(LONG), row(alike, IVAN, name="s2")]).same_session == 0


CONTRADICTIONS = [
    ("My name is Maria, and I bake.", "name", "Maria"),
    ("They call me my name's Maria Lopez.", "name", "Maria Lopez"),
    ("Well, I'm 52 years old.", "age", "52"),
    ("I am fifty-two years old now.", "age", "fifty-two"),
    ("As a 30-year-old I know that.", "age", "30"),
    ("As a man, I would not.", "gender", "man"),
    ("I'm a father of two.", "gender", "father"),
    ("I was born in Lima.", "birth place", "Lima"),
    ("I was born and raised in New York City.", "birth place", "New York City"),
]
NO_CONTRADICTIONS = [
    "My name is Rosa.", "my name is Quispe", "My name is not important.", "I'm Italian at heart.", "Name: Maria",
    "I'm 41 years old.", "I am almost 42 years old.", "I'm forty-one years old.", "When I was 12 years old, I fell.",
    "You are 52 years old.", "As a woman, I would.", "I am a mother.", "A man came by.", "I'm a man of my word? No.",
    "I was born in Cusco.", "I was born in 1983.", "I was born in a village.", "I was born in Peru, near the lake.",
    "He was born in Lima.", '"My name is Maria," she said.', "“I'm 52 years old,” he said.",
]  # fmt: skip


@pytest.mark.parametrize(("text", "fact", "stated"), CONTRADICTIONS)
def test_a_fact_that_contradicts_the_profile_is_found(text: str, fact: str, stated: str) -> None:
    [found] = check_facts([row(text)], [ROSA, IVAN])
    assert (found.fact, found.stated, found.contradicting) == (fact, 1, 1)
    [example] = found.examples
    assert (example.character_id, example.stated, example.quote in text) == (ROSA.id, stated, True)


@pytest.mark.parametrize("text", NO_CONTRADICTIONS)
def test_what_agrees_or_is_not_said_of_oneself_is_none(text: str) -> None:
    assert sum(found.contradicting for found in check_facts([row(text)], [ROSA])) == 0


def test_an_example_is_quoted_with_whole_words_around_it() -> None:
    text = f"{LONG} My name is Maria. {LONG}"
    [found] = check_facts([row(text)], [ROSA])
    start, end = found.examples[0].quote.split("My name is Maria")
    assert start.removeprefix("… ") in text
    assert (start.startswith("… "), end.endswith(" …")) == (True, True)
    assert {*start.split(), *end.split()} - {*text.split(), "…", "."} == set()


def test_the_profile_s_own_form_decides_what_can_be_checked() -> None:
    vague = profile("Kim", age="in her forties", gender="non-binary", birth_place="unknown")
    said = "My name is Kimberly. I'm 52 years old. As a man, I was born in Lima."
    assert sum(found.contradicting for found in check_facts([row(said, vague)], [vague])) == 0
    nameless = CharacterProfile(persona="A baker from Lima who was born in Cusco.")
    assert sum(found.contradicting for found in check_facts([row(said, nameless)], [nameless])) == 0
    assert check_facts([row("My name is Tomsk.", IVAN)], [ROSA]) == []  # the character is not there


def test_only_what_the_character_says_counts_and_a_dialogue_counts_once() -> None:
    asked = session("s1", "My name is Maria. I'm 52 years old.", "-", "I was born in Lima.", "-")
    made = dialogue("G", asked, ROSA, "My name is Maria.", "Yes, my name is Maria.").model_dump(mode="json")
    [found] = check_facts([made], [ROSA])
    assert (found.fact, found.stated, found.contradicting) == ("name", 1, 1)


def test_the_report_shows_them_with_their_rules(make_output: OutputMaker, tmp_path: Path) -> None:
    asked = session("s1", "How do I bake?", "Mix and bake it.")
    made = [
        dialogue("G", asked, ROSA, f"{LONG} My name is <b>Maria</b>. I was born in Lima."),
        dialogue("G", asked, IVAN, f"{LONG} I am 27 years old."),
        dialogue("R", asked, IVAN, "Drive to the baker by tram."),
    ]
    counts = {"ok": 3, "rejected": 5}
    run = ReportInputs(
        name="x",
        characters=make_output("characters", {"characters.jsonl.zst": [ROSA, IVAN]}, counts={"ok": 2}),
        sessions=make_output("sessions", {"sessions.jsonl.zst": [asked]}),
        dialogues=make_output(
            "dialogues",
            {"dialogues.jsonl.zst": made},
            counts=counts,
            stats={
                "rejected_by_reason": {"refusal": 4, "empty_answer": 1},
                "quality": {"judge": "critic-1", "threshold": 4, "outcomes": {"accepted": 2, "repaired": 1}},
            },
        ),
    )
    page = write_report(run, tmp_path / "report.html").read_text()
    text = re.sub(r"[ \n]+", " ", page)
    for expected in (
        "refusal",
        "50.0\u00a0%",
        "12.5\u00a0%",
        "distinct-3",
        "Lima",
        "Cusco, Peru",
        "English",
        "&lt;b&gt;Maria",
    ):
        assert expected in text
    assert "<b>Maria" not in page
