"""The draw of characters for a session."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from opencharacter.synthesis.casting import CharacterPool

SESSIONS = [f"session {number}" for number in range(200)]
IDENTITIES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=30, unique=True)


def draws(identities: list[str], n: int, seed: int = 3) -> dict[str, list[str]]:
    pool = CharacterPool(identities, seed)
    drawn = pool.draw(SESSIONS, n)
    return {session: [identities[place] for place in cast] for session, cast in zip(SESSIONS, drawn, strict=True)}


@settings(max_examples=25)
@given(IDENTITIES, st.integers(1, 6), st.randoms(use_true_random=False))
def test_without_replacement_and_whatever_the_order(identities: list[str], n: int, rng: object) -> None:
    shuffled = list(identities)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    drawn = draws(identities, n)
    assert draws(shuffled, n) == drawn
    assert all(len(set(cast)) == len(cast) == min(n, len(identities)) for cast in drawn.values())


@settings(max_examples=25)
@given(IDENTITIES, st.integers(1, 4), st.data())
def test_exchanged_character_touches_only_its_sessions(identities: list[str], n: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(identities) - 1))
    gone = identities[place]
    before = draws(identities, n)
    after = draws([*identities[:place], "a newcomer", *identities[place + 1 :]], n)
    for session in SESSIONS:
        if before[session] != after[session]:
            assert gone in before[session] or "a newcomer" in after[session]
            lost = set(before[session]) - set(after[session])
            assert len(lost) == 1


def test_seeds_differ_and_everyone_is_drawn_about_as_often() -> None:
    identities = [str(number) for number in range(20)]
    assert draws(identities, 2, seed=1) != draws(identities, 2, seed=2)
    counts = Counter(who for cast in draws(identities, 5).values() for who in cast)
    # 1000 draws of 20 characters: 50 each, standard deviation 6.1.
    assert all(25 < counts[who] < 75 for who in identities)
