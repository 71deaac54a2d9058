"""The dialogues of a run: which characters play which session, in which way, in a fixed order."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from opencharacter.characters.profile import CharacterProfile
from opencharacter.characters.prompt import DEFAULT_PROMPT, PromptName
from opencharacter.engines.engine_config import EngineConfig, Sampling
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.generation.character_refusals import refuses_in_character
from opencharacter.generation.rows import RowOutcome, RowPolicy, RowTask
from opencharacter.hashing import digest, seed64
from opencharacter.records.models import DialogueRow, Session, Turn
from opencharacter.synthesis.dialogue_prompts import GeneratePrompt, generate, rewrite
from opencharacter.synthesis.rewrite_prompt import RewritePrompt
from opencharacter.synthesis.synthesis_config import Corpus, ResponsesConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DialogueStrategy = Literal["R", "G"]


@dataclass(frozen=True)
class DialogueTask:
    """One session to be played by one character in one way."""

    row_id: str
    strategy: DialogueStrategy
    session: Session
    character: CharacterProfile
    engine: str
    """Key of the engine that is asked."""
    model: str

    def turns(self, answers: Sequence[str]) -> tuple[Turn, ...]:
        """The dialogue: the session's own user turns, each with its answer."""
        pairs = zip(self.session.user_turns, answers, strict=True)
        return tuple(
            turn
            for question, answer in pairs
            for turn in (Turn(role="user", content=question), Turn(role="assistant", content=answer))
        )


class DialogueMaker:
    """How dialogues are made: prompts, sampling, row addresses and rows."""

    def __init__(self, config: ResponsesConfig, seed: int, system_prompt: PromptName = DEFAULT_PROMPT) -> None:
        self.policy = RowPolicy(config.attempts, config.max_rejected_share, seed)
        self._rewrite_prompt = RewritePrompt.load(config.rewrite_sampling, config.rewrite_room)
        self._generate_prompt = GeneratePrompt.load(system_prompt)
        self._sampling: dict[str, Sampling] = {"R": config.rewrite_sampling, "G": config.generate_sampling}
        self._prompt_hash = {"R": self._rewrite_prompt.hash, "G": self._generate_prompt.hash}

    @property
    def prompt_hashes(self) -> list[str]:
        """Hashes of the prompts of R and G."""
        return [self._prompt_hash["R"], self._prompt_hash["G"]]

    def tasks(
        self,
        session: Session,
        strategy: DialogueStrategy,
        characters: Iterable[CharacterProfile],
        *,
        engine: str,
        model: str,
    ) -> Iterator[DialogueTask]:
        """One task per character. `engine` is the key of the engine to ask, `model` the name of its model."""
        content = digest([turn.model_dump() for turn in session.turns])
        for character in characters:
            row_id = self._row_id(strategy, content, character, model)
            yield DialogueTask(row_id, strategy, session, character, engine, model)

    def row_task(self, task: DialogueTask) -> RowTask:
        """The task as `make_rows` takes it."""
        arguments: dict[str, Any] = {
            "session": task.session,
            "profile": task.character,
            "attempts": self.policy.attempts,
        }
        make = (
            functools.partial(rewrite, prompt=self._rewrite_prompt, **arguments)
            if task.strategy == "R"
            else functools.partial(generate, prompt=self._generate_prompt, **arguments)
        )
        return self.policy.task(task.row_id, task.engine, self._sampling[task.strategy], make)

    def row(self, task: DialogueTask, outcome: RowOutcome) -> DialogueRow:
        """The row of a finished task, good or rejected."""
        turns = task.turns(outcome.content["answers"]) if outcome.status == "ok" else ()
        return DialogueRow(
            row_id=task.row_id,
            corpus=task.session.corpus,
            session_id=task.session.id,
            character_id=task.character.id,
            strategy=task.strategy,
            status=outcome.status,
            reason=outcome.reason,
            turns=turns,
            refusal="in_character" if _is_refused(turns) else None,
            source=task.session.source,
            licence=task.session.licence,
            model=task.model,
            prompt_hash=self._prompt_hash[task.strategy],
            usage=outcome.usage,
        )

    def _row_id(self, strategy: str, content: str, character: CharacterProfile, model: str) -> str:
        """The row's content address (docs/design.md, decision 3); the run's seed counts as part of the sampling."""
        return digest(
            {
                "row": strategy,
                "session": content,
                "character": character.id,
                "prompt": self._prompt_hash[strategy],
                "model": model,
                "sampling": self._sampling[strategy].model_dump(),
                "seed": self.policy.seed,
            }
        )


def _is_refused(turns: Sequence[Turn]) -> bool:
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return any(refuses_in_character(question.content, answer.content) for question, answer in pairs)


class TaskBuilder:
    """The dialogues of a run: for each session its corpus's strategies, and n characters, the same for R and G.

    A character is identified in the draw by its persona, so the same characters are drawn when profiles are remade.
    """

    def __init__(
        self,
        maker: DialogueMaker,
        corpora: Sequence[Corpus],
        engines: Mapping[str, EngineConfig],
        characters: Sequence[CharacterProfile],
    ) -> None:
        self._maker = maker
        self._corpora = {corpus.name: corpus for corpus in corpora}
        self._engines = engines
        if not characters:
            raise OpenCharacterError("there is no character to play a session", hint="see why no profile was made")
        by_identity = {_identity(character): character for character in reversed(characters)}
        self._characters = list(by_identity.values())
        self._pool = CharacterPool(list(by_identity), maker.policy.seed)

    def tasks(self, session: Session) -> Iterator[DialogueTask]:
        """The tasks of one session; none for R where the session has no answers to rewrite."""
        corpus = self._corpora.get(session.corpus)
        if corpus is None:
            raise UserError(f"session {session.id} is of corpus '{session.corpus}', which inputs.corpora does not hold")
        characters = [self._characters[position] for position in self._pool.draw(session.id, corpus.n)]
        model = self._engines[corpus.teacher].model
        for strategy in corpus.strategies:
            if strategy == "G" or session.has_answers:
                yield from self._maker.tasks(session, strategy, characters, engine=corpus.teacher, model=model)

    def skipped(self, session: Session) -> int:
        """The number of R rows that are not made because the session has no answers."""
        corpus = self._corpora[session.corpus]
        return min(corpus.n, len(self._pool)) if "R" in corpus.strategies and not session.has_answers else 0


def _identity(character: CharacterProfile) -> str:
    return (character.provenance and character.provenance.persona_id) or character.id


class CharacterPool:
    """The characters to draw from, by what identifies them: strings that are unique.

    Rendezvous hashing: each (seed, session, character) has a pseudo-random weight, and a session draws the characters
    of the highest weights. So a character that is added, removed or exchanged changes only the sessions that drew it
    or draw it now, and neither the order nor the number of characters matters. The identity should be what the user
    thinks of as the character (the persona), not the text made of it, or a new teacher would recast every session.
    """

    def __init__(self, identities: Sequence[str], seed: int) -> None:
        import numpy as np

        self._seed = seed
        self._hashes = np.array([seed64("character", identity) for identity in identities], dtype=np.uint64)

    def __len__(self) -> int:
        return len(self._hashes)

    def draw(self, session_id: str, n: int) -> list[int]:
        """Positions of `n` different characters (all of them, if there are fewer), highest weight first."""
        import numpy as np

        weights = _mix(self._hashes ^ np.uint64(seed64("session", self._seed, session_id)))
        n = min(n, len(weights))
        top = np.argpartition(weights, len(weights) - n)[len(weights) - n :]
        return [int(position) for position in top[np.argsort(weights[top])[::-1]]]


def _mix(values: "NDArray[np.uint64]") -> "NDArray[np.uint64]":
    """The finaliser of SplitMix64: a bijection of 64-bit integers that flips half the bits for each bit changed."""
    import numpy as np

    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
