"""Which dialogues the report shows."""

from support.small_run import OutputMaker, dialogue, profile, session

from opencharacter.reporting.samples import answer_lengths, pick_samples

PEOPLE = [profile(f"Person {number}") for number in range(6)]
SHORT = [session(f"short-{number}", f"Question {number}?", f"Answer {number}.") for number in range(6)]
LONG = [session(f"long-{number}", "One?", "First.", "Two?", "Second.") for number in range(3)]


def test_both_strategies_come_first_and_sessions_of_several_turns_have_a_place(make_output: OutputMaker) -> None:
    rows = [dialogue("G", asked, person, "g") for asked, person in zip(SHORT, PEOPLE, strict=True)]
    rows += [dialogue(strategy, SHORT[0], PEOPLE[1], "x") for strategy in "RG"]
    rows += [dialogue(strategy, LONG[0], PEOPLE[2], "x", "y") for strategy in "RG"]
    samples = pick_samples(make_output("dialogues", {"dialogues.jsonl.zst": rows}), None, limit=3)
    assert samples[0].character_id == PEOPLE[2].id
    assert len(samples[0].exchanges) == 2
    assert samples[1].character_id == PEOPLE[1].id
    assert samples[1].versions == ("R", "G")


def test_nobody_and_nothing_is_shown_twice_while_others_are_left(make_output: OutputMaker) -> None:
    rows = [dialogue("G", asked, person, "g") for asked in SHORT for person in PEOPLE]
    ref = make_output("dialogues", {"dialogues.jsonl.zst": rows})
    samples = pick_samples(ref, None, limit=5)
    assert len({sample.character_id for sample in samples}) == 5
    assert len({sample.exchanges[0].user for sample in samples}) == 5
    assert len(pick_samples(ref, None, limit=9)) == 9


def test_the_choice_does_not_depend_on_the_order_of_the_rows(make_output: OutputMaker) -> None:
    rows = [dialogue("R", asked, person, "r") for asked in SHORT for person in PEOPLE]
    forwards, backwards = (make_output("dialogues", {"dialogues.jsonl.zst": ordered}) for ordered in (rows, rows[::-1]))
    assert pick_samples(forwards, None, limit=4) == pick_samples(backwards, None, limit=4)


def test_the_source_answer_stands_beside_each_turn(make_output: OutputMaker) -> None:
    ref = make_output("dialogues", {"dialogues.jsonl.zst": [dialogue("R", LONG[1], PEOPLE[0], "r1", "r2")]})
    sessions = make_output("sessions", {"sessions.jsonl.zst": [*SHORT, *LONG]})
    (sample,) = pick_samples(ref, sessions, limit=4)
    assert [dict(exchange.answers) for exchange in sample.exchanges] == [
        {"source": "First.", "R": "r1"},
        {"source": "Second.", "R": "r2"},
    ]


def test_a_session_without_answers_has_no_source_column(make_output: OutputMaker) -> None:
    asked = session("open", "Only a question?")
    ref = make_output("dialogues", {"dialogues.jsonl.zst": [dialogue("G", asked, PEOPLE[0], "g")]})
    (sample,) = pick_samples(ref, make_output("sessions", {"sessions.jsonl.zst": [asked]}), limit=4)
    assert sample.versions == ("G",)


def test_lengths_are_counted_by_strategy(make_output: OutputMaker) -> None:
    rows = [dialogue("R", LONG[0], PEOPLE[0], "one", "one two"), dialogue("G", SHORT[0], PEOPLE[0], "one two three")]
    assert answer_lengths(make_output("dialogues", {"dialogues.jsonl.zst": rows})) == {"R": [1, 2], "G": [3]}
