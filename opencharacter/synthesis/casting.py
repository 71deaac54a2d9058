"""Who plays what: every (session, character, strategy) of a run, in a fixed order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from opencharacter.characters.profile import CharacterProfile
from opencharacter.engines.config import EngineConfig, Sampling
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import digest
from opencharacter.records.models import Session, Turn
from opencharacter.synthesis.config import Corpus, ResponsesConfig
from opencharacter.synthesis.draws import CharacterPool
from opencharacter.synthesis.generate import GeneratePrompt
from opencharacter.synthesis.rewrite import RewritePrompt


@dataclass(frozen=True)
class Scene:
    """One session to be played by one character in one way."""

    row_id: str
    strategy: Literal["R", "G"]
    session: Session
    character: CharacterProfile
    engine: str
    model: str

    def turns(self, answers: Sequence[str]) -> tuple[Turn, ...]:
        """The dialogue: the session's own user turns, each with its answer."""
        pairs = zip(self.session.user_turns, answers, strict=True)
        return tuple(
            turn
            for question, answer in pairs
            for turn in (Turn(role="user", content=question), Turn(role="assistant", content=answer))
        )


class Casting:
    """The scenes of a run: for each session its corpus's strategies, and n characters, the same ones for R and G.

    A character is identified in the draw by its persona, so the cast stays when profiles are made anew.
    """

    def __init__(
        self,
        config: ResponsesConfig,
        corpora: Sequence[Corpus],
        engines: Mapping[str, EngineConfig],
        characters: Sequence[CharacterProfile],
        seed: int,
    ) -> None:
        self.rewrite_prompt = RewritePrompt.load(config.rewrite_sampling)
        self.generate_prompt = GeneratePrompt.load()
        self.sampling: dict[str, Sampling] = {"R": config.rewrite_sampling, "G": config.generate_sampling}
        self.prompt_hash = {"R": self.rewrite_prompt.hash, "G": self.generate_prompt.hash}
        self._corpora = {corpus.name: corpus for corpus in corpora}
        self._engines = engines
        self._seed = seed
        if not characters:
            raise OpenCharacterError("there is no character to play a session", hint="see why no profile was made")
        by_identity = {_identity(character): character for character in reversed(characters)}
        self._characters = list(by_identity.values())
        self._pool = CharacterPool(list(by_identity), seed)

    def scenes(self, session: Session) -> Iterator[Scene]:
        """The scenes of one session; none for R where the session has no answers to rewrite."""
        corpus = self._corpora.get(session.corpus)
        if corpus is None:
            raise UserError(f"session {session.id} is of corpus '{session.corpus}', which inputs.corpora does not hold")
        cast = [self._characters[position] for position in self._pool.draw(session.id, corpus.n)]
        content = digest([turn.model_dump() for turn in session.turns])
        for strategy in corpus.strategies:
            if strategy == "R" and not session.has_answers:
                continue
            for character in cast:
                row_id = self._row_id(strategy, content, character, corpus.teacher)
                model = self._engines[corpus.teacher].model
                yield Scene(row_id, strategy, session, character, corpus.teacher, model)

    def skipped(self, session: Session) -> int:
        """How many rows of R the session lacks answers for."""
        corpus = self._corpora[session.corpus]
        return min(corpus.n, len(self._pool)) if "R" in corpus.strategies and not session.has_answers else 0

    def _row_id(self, strategy: str, content: str, character: CharacterProfile, teacher: str) -> str:
        """The row's content address (docs/design.md, decision 3); the run's seed counts as part of the sampling."""
        return digest(
            {
                "row": strategy,
                "session": content,
                "character": character.id,
                "prompt": self.prompt_hash[strategy],
                "model": self._engines[teacher].model,
                "sampling": self.sampling[strategy].model_dump(),
                "seed": self._seed,
            }
        )


def _identity(character: CharacterProfile) -> str:
    return (character.provenance and character.provenance.persona_id) or character.id
