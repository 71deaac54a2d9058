from opencharacter.characters import CharacterProfile
from opencharacter.evaluation.judges.canaries import KINDS, Original, RankedCanary, make_canaries, rank_canaries
from opencharacter.evaluation.judges.sampling import spread


def _original(place: int, item: str = "i", text: str = "I mend nets, and the sea does the rest.") -> Original:
    character = CharacterProfile(name=f"Ada {place}", experience="has mended nets all her life")
    return Original(f"a{place}", item, character, character.id, f"{text} {place}")


def test_an_answer_has_one_canary_of_each_kind() -> None:
    original, others = _original(0), [_original(0), _original(1, "other"), _original(2)]
    canaries = {canary.kind: canary.text for canary in make_canaries(original, others, seed=1)}
    assert canaries.keys() == set(KINDS)
    assert canaries["empty"] == ""
    assert canaries["other_character"] == others[2].text  # the same question comes first
    assert "mended nets" in canaries["profile_pasted"]
    assert canaries["padded"].startswith(original.text)
    assert 2 <= len(canaries["padded"]) / len(original.text) < 4
    assert make_canaries(original, others, seed=1) == make_canaries(original, others, seed=1)
    assert "other_character" not in {canary.kind for canary in make_canaries(original, [original], seed=1)}


def _ranked(original: float, canary: float, padded: float, count: int = 10) -> list[RankedCanary]:
    return [
        RankedCanary(kind, original, padded if kind == "padded" else canary) for kind in KINDS for _ in range(count)
    ]


def test_a_judge_that_sees_every_canary_passes() -> None:
    found = rank_canaries(_ranked(4, 2, 4), worst=1)
    assert (found.verdict, found.wrong.value, found.wrong.n) == ("passed", 0, 60)


def test_a_judge_that_rewards_length_or_says_one_thing_of_all_is_refused() -> None:
    padding = rank_canaries(_ranked(4, 2, 5), worst=1)
    assert (padding.verdict, padding.by_kind["padded"].value) == ("refused", 1.0)
    assert "17%" in padding.reason
    assert rank_canaries(_ranked(3, 3, 3), worst=1).verdict == "refused"


def test_nothing_is_said_of_a_judge_whose_originals_have_the_worst_score() -> None:
    found = rank_canaries(_ranked(1, 1, 1), worst=1)
    assert (found.verdict, found.unrankable) == ("unknown", 50)
    assert rank_canaries([], worst=1).verdict == "unknown"


def test_a_tenth_wrong_is_the_most_that_passes() -> None:
    rows = [RankedCanary("empty", 4, 5 if place < 10 else 1) for place in range(100)]
    assert rank_canaries(rows, worst=1).verdict == "passed"
    assert rank_canaries([*rows, RankedCanary("empty", 4, 5)], worst=1).verdict == "refused"


def test_originals_are_taken_from_all_characters_before_a_second_of_one() -> None:
    originals = [_original(place % 5, f"i{place}")._replace(answer_id=f"a{place}") for place in range(25)]

    def chosen(count: int, rows: list[Original]) -> list[Original]:
        return spread(rows, count, 2, name=lambda row: row.answer_id, group=lambda row: row.character_id)

    assert len({original.character_id for original in chosen(5, originals)}) == 5
    assert len(chosen(7, originals)) == 7
    assert chosen(7, originals) == chosen(7, originals[::-1])
