"""The dialogues of a run: which characters play which session, in which way, in a fixed order."""

import functools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from opencharacter.characters.profile import CharacterProfile
from opencharacter.engines.engine_config import EngineConfig
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.generation.rows import RowOutcome, RowTask
from opencharacter.records.models import DialogueRow, Session
from opencharacter.storage.kinds import CHARACTERS, SESSIONS
from opencharacter.storage.spool import Spool
from opencharacter.storage.workspace import Artifact
from opencharacter.synthesis.casting import CharacterPool
from opencharacter.synthesis.dialogue_tasks import DialogueMaker, DialogueStrategy, session_content
from opencharacter.synthesis.synthesis_config import Corpus
from opencharacter.system.hardware import usable_cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SESSIONS_AT_ONCE = 1024
_CHARACTERS_KEPT = 512


class PlannedDialogue(NamedTuple):
    """A dialogue to be made, as `make_rows` keeps it; session and character are numbers in the plan."""

    row_id: str
    plan: "DialoguePlan"
    strategy: DialogueStrategy
    corpus: Corpus
    session: int
    character: int

    @property
    def engine(self) -> str:
        """Key of the engine that is asked."""
        return self.corpus.teacher

    @property
    def group(self) -> str:
        """The character's id."""
        return self.plan.character_ids[self.character]

    @property
    def part(self) -> str:
        """The strategy."""
        return self.strategy

    def task(self) -> RowTask:
        """The row to make."""
        return self.plan.task(self)


class DialoguePlan:
    """The dialogues of a run: for each session its corpus's strategies, and n characters, the same for R and G.

    A character is identified in the draw by its persona, so the same characters are drawn when profiles are remade.
    Hundreds of thousands of rows are planned before the first is made, so sessions and characters are read as they
    are, kept on disk, and made into models when a row needs them.
    """

    def __init__(
        self,
        maker: DialogueMaker,
        corpora: Sequence[Corpus],
        engines: Mapping[str, EngineConfig],
        sessions: Artifact,
        characters: Artifact,
    ) -> None:
        self.skipped = 0
        """The number of R rows that are not planned because their session has no answers; known after `rows`."""
        self._maker = maker
        self._corpora = {corpus.name: corpus for corpus in corpora}
        self._engines = engines
        self._sessions = sessions
        self._session_lines = Spool()
        self._character_lines = Spool()
        self.character_ids: list[str] = []
        """Ids of the characters that can be drawn."""
        identities: dict[str, None] = {}
        for line, character in CHARACTERS.read_lines(characters):
            identity = (character.get("provenance") or {}).get("persona_id") or character["id"]
            if identity not in identities:
                identities[identity] = None
                self.character_ids.append(character["id"])
                self._character_lines.append(line)
        if not identities:
            raise OpenCharacterError("there is no character to play a session", hint="see why no profile was made")
        self._pool = CharacterPool(list(identities), maker.policy.seed)
        self._profile = functools.lru_cache(_CHARACTERS_KEPT)(self._read_profile)

    def rows(self, owned: Callable[[str], bool] | None = None) -> Iterator[PlannedDialogue]:
        """The dialogues in the order of sessions, strategies and draws; of all characters, or of those `owned` by id.

        Call it once.
        """
        import numpy as np

        mine = None if owned is None else np.array([owned(character) for character in self.character_ids])
        addresses = {
            (name, strategy): self._maker.addresses(strategy, self._engines[corpus.teacher].identity)
            for name, corpus in self._corpora.items()
            for strategy in corpus.strategies
        }
        for line, session, drawn in self._cast_sessions():
            cast = drawn if mine is None else drawn[mine[drawn]]
            corpus = self._corpora[session["corpus"]]
            answered = _has_answers(session["turns"])
            if "R" in corpus.strategies and not answered:
                self.skipped += len(drawn)
            if not len(cast):
                continue
            number, content = len(self._session_lines), session_content(session["turns"])
            self._session_lines.append(line)
            for strategy in corpus.strategies:
                if strategy == "R" and not answered:
                    continue
                address = addresses[corpus.name, strategy]
                for position in cast.tolist():
                    row_id = address(content, self.character_ids[position])
                    yield PlannedDialogue(row_id, self, strategy, corpus, number, position)

    def session(self, planned: PlannedDialogue) -> Session:
        """The session of a dialogue."""
        return Session.model_validate_json(self._session_lines[planned.session])

    def task(self, planned: PlannedDialogue) -> RowTask:
        """The dialogue as `make_rows` takes it."""
        return self._maker.row_task(
            planned.row_id, planned.strategy, planned.engine, planned.group, functools.partial(self._parts, planned)
        )

    def row(self, planned: PlannedDialogue, outcome: RowOutcome) -> DialogueRow:
        """The row of a finished dialogue, good or rejected."""
        return self._maker.row(
            planned.row_id,
            planned.strategy,
            self.session(planned),
            planned.group,
            self._engines[planned.engine].model,
            outcome,
        )

    def _parts(self, planned: PlannedDialogue) -> tuple[Session, CharacterProfile]:
        return self.session(planned), self._profile(planned.character)

    def _read_profile(self, number: int) -> CharacterProfile:
        return CharacterProfile.model_validate_json(self._character_lines[number])

    def _cast_sessions(self) -> "Iterator[tuple[str, dict[str, Any], NDArray[np.int64]]]":
        """Each session's line and content, and the positions of its characters."""
        lines = SESSIONS.read_lines(self._sessions)
        waiting: deque[tuple[list[tuple[str, dict[str, Any]]], dict[str, Future[NDArray[np.int64]]]]] = deque()
        cores = len(usable_cores())
        with ThreadPoolExecutor(cores, thread_name_prefix="draws") as threads:
            while (some := list(islice(lines, _SESSIONS_AT_ONCE))) or waiting:
                if some:
                    waiting.append((some, self._draw(threads, [session for _, session in some])))
                    if len(waiting) <= cores:
                        continue
                sessions, draws = waiting.popleft()
                drawn = {name: iter(draw.result()) for name, draw in draws.items()}
                for line, session in sessions:
                    yield line, session, next(drawn[session["corpus"]])

    def _draw(
        self, threads: ThreadPoolExecutor, sessions: list[dict[str, Any]]
    ) -> "dict[str, Future[NDArray[np.int64]]]":
        """The draws of some sessions, by corpus, which are under way in other threads."""
        ids: dict[str, list[str]] = {}
        for session in sessions:
            if session["corpus"] not in self._corpora:
                raise UserError(
                    f"session {session['id']} is of corpus '{session['corpus']}', which inputs.corpora does not hold"
                )
            ids.setdefault(session["corpus"], []).append(session["id"])
        return {name: threads.submit(self._pool.draw, some, self._corpora[name].n) for name, some in ids.items()}


def _has_answers(turns: Sequence[Mapping[str, Any]]) -> bool:
    """`Session.has_answers` of the turns as they are stored."""
    return len(turns) == 2 * sum(turn["role"] == "user" for turn in turns)
