"""The plan of a run's dialogues: the draws, and addresses that are those of earlier versions."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencharacter.characters import CharacterProfile, Provenance
from opencharacter.engines import EngineConfig
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import DigestTemplate, digest, seed64
from opencharacter.records.models import Session, Turn
from opencharacter.storage import Artifact, Workspace, write_jsonl
from opencharacter.storage.spool import Spool
from opencharacter.synthesis import Corpus, ResponsesConfig
from opencharacter.synthesis.casting import CharacterPool
from opencharacter.synthesis.dialogue_plan import DialoguePlan
from opencharacter.synthesis.dialogue_tasks import DialogueMaker

# What a JSON file can hold: no half of a surrogate pair.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
SEED = 7


@given(st.lists(TEXT, min_size=2, max_size=2), TEXT, st.integers(0, 2**63))
def test_a_template_digests_as_the_whole_value_does(texts: list[str], other: str, number: int) -> None:
    template = DigestTemplate({"b": "\0one", "a": ["\0two", other], "c": number}, "\0one", "\0two")
    one, two = texts
    assert template.digest(one, two) == digest({"b": one, "a": [two, other], "c": number})
    assert DigestTemplate([other, "\0one", number], "\0one").seed64(one) == seed64(other, one, number)


def reference_draw(identities: list[str], seed: int, session: str, n: int) -> list[int]:
    """The characters of the highest weights, by Python's integers."""

    def weight(identity: str) -> int:
        value = seed64("character", identity) ^ seed64("session", seed, session)
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
        return value ^ (value >> 31)

    order = sorted(range(len(identities)), key=lambda place: weight(identities[place]), reverse=True)
    return order[:n]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 6), st.integers(0, 2**63), st.lists(TEXT, max_size=40))
def test_draws_are_the_highest_weights_whatever_the_size(count: int, n: int, seed: int, sessions: list[str]) -> None:
    identities = [f"character {number}" for number in range(count)]
    drawn = CharacterPool(identities, seed).draw(sessions, n).tolist()
    assert drawn == [reference_draw(identities, seed, session, n) for session in sessions]


def test_a_session_of_which_too_few_weights_are_high_is_drawn_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    identities = [f"character {number}" for number in range(400)]
    pool = CharacterPool(identities, SEED)
    above = pool._above
    # Two of 400 are above this, on average.
    least = np.uint64(int((1 - 2 / 400) * 2**31) << 33)
    monkeypatch.setattr(pool, "_above", lambda sessions, n, _: above(sessions, n, least))
    sessions = [f"session {number}" for number in range(50)]
    assert pool.draw(sessions, 3).tolist() == [reference_draw(identities, SEED, session, 3) for session in sessions]


def session_of(corpus: str, texts: list[str]) -> Session:
    turns = tuple(Turn(role="assistant" if place % 2 else "user", content=text) for place, text in enumerate(texts))
    return Session(id=digest([corpus, texts]), corpus=corpus, turns=turns, source="tests", licence="CC0-1.0")


def commit(workspace: Workspace, kind: str, rows: list[Session] | list[CharacterProfile]) -> Artifact:
    with workspace.create(kind, digest([row.model_dump(mode="json") for row in rows])) as draft:
        write_jsonl(draft.path / f"{kind}.jsonl.zst", rows)
    return draft.committed()


CORPORA = [
    Corpus(name="both", uri="-", license="CC0-1.0", strategies=["R", "G"], n=2, teacher="teacher"),
    Corpus(name="one", uri="-", license="CC0-1.0", strategies=["G"], n=3, teacher="other"),
]
ENGINES = {
    "teacher": EngineConfig(model="model-1", base_url="http://x/v1"),
    "other": EngineConfig(model="modèle-2", base_url="http://x/v1"),
}


def reference_rows(
    config: ResponsesConfig, sessions: list[Session], characters: list[CharacterProfile]
) -> Iterator[tuple[str, str, str, str]]:
    """Row id, strategy, session and character of each dialogue, as version 0.1.0 plans them."""
    people: dict[str, CharacterProfile] = {}
    for character in characters:
        identity = (character.provenance and character.provenance.persona_id) or character.id
        people.setdefault(identity, character)
    maker = DialogueMaker(config, SEED)
    hashes = dict(zip("RG", maker.prompt_hashes, strict=True))
    sampling = {"R": config.rewrite_sampling, "G": config.generate_sampling}
    corpora = {corpus.name: corpus for corpus in CORPORA}
    for session in sessions:
        corpus = corpora[session.corpus]
        cast = [list(people.values())[place] for place in reference_draw(list(people), SEED, session.id, corpus.n)]
        for strategy in corpus.strategies:
            if strategy == "R" and not session.has_answers:
                continue
            for character in cast:
                address = {
                    "row": strategy,
                    "session": digest([turn.model_dump() for turn in session.turns]),
                    "character": character.id,
                    "prompt": hashes[strategy],
                    "model": ENGINES[corpus.teacher].model,
                    "sampling": sampling[strategy].model_dump(),
                    "seed": SEED,
                }
                yield digest(address), strategy, session.id, character.id


SESSIONS = st.lists(
    st.builds(session_of, st.sampled_from(["both", "one"]), st.lists(TEXT, min_size=1, max_size=5)), max_size=8
)
CHARACTERS = st.lists(
    st.builds(
        CharacterProfile,
        name=st.sampled_from(["Ada", "Björk", "葉"]),
        persona=st.none() | st.sampled_from(["A keeper of bees.", 'Says "aye".']),
        provenance=st.none()
        | st.builds(
            Provenance,
            source=st.just("tests"),
            licence=st.just("CC0-1.0"),
            persona_id=st.none() | st.sampled_from("abc"),
        ),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SESSIONS, CHARACTERS)
def test_rows_are_planned_as_in_earlier_versions(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[Session], characters: list[CharacterProfile]
) -> None:
    workspace, config = Workspace(tmp_path_factory.mktemp("plan")), ResponsesConfig()
    artifacts = commit(workspace, "sessions", sessions), commit(workspace, "characters", characters)

    def plan() -> DialoguePlan:
        return DialoguePlan(DialogueMaker(config, SEED), CORPORA, ENGINES, *artifacts)

    whole = plan()
    planned = [
        (row.row_id, row.strategy, whole.session(row).id, whole.character_ids[row.character]) for row in whole.rows()
    ]
    assert planned == list(reference_rows(config, sessions, characters))
    # Shards that are cut by character have all rows between them, in the same order.
    halves = [[row.row_id for row in plan().rows(lambda id, half=half: int(id, 16) % 2 == half)] for half in (0, 1)]
    first = {row_id for row_id, _, _, character in planned if int(character, 16) % 2 == 0}
    assert halves == [
        [row_id for row_id, *_ in planned if row_id in first],
        [row_id for row_id, *_ in planned if row_id not in first],
    ]


def test_a_plan_without_characters_and_a_corpus_that_is_not_declared_are_refused(tmp_path: Path) -> None:
    workspace, maker = Workspace(tmp_path), DialogueMaker(ResponsesConfig(), SEED)
    stray, nobody = (
        commit(workspace, "sessions", [session_of("stray", ["Hello."])]),
        commit(workspace, "characters", []),
    )
    somebody = commit(workspace, "characters", [CharacterProfile(name="Ada")])
    with pytest.raises(OpenCharacterError, match="no character"):
        DialoguePlan(maker, CORPORA, ENGINES, stray, nobody)
    with pytest.raises(UserError, match="corpus 'stray'"):
        list(DialoguePlan(maker, CORPORA, ENGINES, stray, somebody).rows())


@given(st.lists(TEXT | st.just("")))
def test_a_spool_gives_each_text_back(texts: list[str]) -> None:
    spool = Spool()
    for text in texts:
        spool.append(text)
        assert spool[len(spool) - 1] == text
    assert [spool[number] for number in range(len(texts))] == texts
