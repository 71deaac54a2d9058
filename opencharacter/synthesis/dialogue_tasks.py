"""Dialogues: their addresses, how they are made, and the row of a finished one."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

from opencharacter.characters.profile import CharacterProfile
from opencharacter.characters.prompt import DEFAULT_PROMPT, PromptName
from opencharacter.engines.engine_config import Sampling
from opencharacter.engines.thoughts import cut_thoughts
from opencharacter.generation.calls import RowCalls
from opencharacter.generation.character_refusals import refuses_in_character
from opencharacter.generation.errors import Unusable
from opencharacter.generation.rows import RowOutcome, RowPolicy, RowTask
from opencharacter.hashing import DigestTemplate, digest
from opencharacter.records.models import DialogueRow, Session, Turn
from opencharacter.synthesis.dialogue_prompts import GeneratePrompt, generate, rewrite
from opencharacter.synthesis.rewrite_prompt import RewritePrompt
from opencharacter.synthesis.synthesis_config import ResponsesConfig

DialogueStrategy = Literal["R", "G"]
Parts = Callable[[], tuple[Session, CharacterProfile]]
"""Reads the session and the character of a dialogue."""


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

    def addresses(self, strategy: DialogueStrategy, model: str) -> Callable[[str, str], str]:
        """The row's content address by `session_content` and character id (docs/design.md, decision 3).

        The run's seed counts as part of the sampling.
        """
        session, character = "\0session", "\0character"
        template = DigestTemplate(
            {
                "row": strategy,
                "session": session,
                "character": character,
                "prompt": self._prompt_hash[strategy],
                "model": model,
                "sampling": self._sampling[strategy].model_dump(),
                "seed": self.policy.seed,
            },
            session,
            character,
        )
        return template.digest

    def row_task(self, row_id: str, strategy: DialogueStrategy, engine: str, group: str, parts: Parts) -> RowTask:
        """The task as `make_rows` takes it. `group` is the character's id; `parts` is called when the row is made."""
        make = functools.partial(self._make, strategy, parts)
        return self.policy.task(row_id, engine, self._sampling[strategy], make, group=group, part=strategy)

    def row(
        self,
        row_id: str,
        strategy: DialogueStrategy,
        session: Session,
        character_id: str,
        model: str,
        outcome: RowOutcome,
    ) -> DialogueRow:
        """The row of a finished dialogue, good or rejected. Raises `Unusable` for a good one that is none any more."""
        turns = _turns(session, _without_thoughts(outcome.content["answers"])) if outcome.status == "ok" else ()
        return DialogueRow(
            row_id=row_id,
            corpus=session.corpus,
            session_id=session.id,
            character_id=character_id,
            strategy=strategy,
            status=outcome.status,
            reason=outcome.reason,
            detail=outcome.detail,
            turns=turns,
            refusal="in_character" if _is_refused(turns) else None,
            source=session.source,
            licence=session.licence,
            model=model,
            prompt_hash=self._prompt_hash[strategy],
            usage=outcome.usage,
        )

    async def _make(self, strategy: DialogueStrategy, parts: Parts, calls: RowCalls) -> dict[str, Any]:
        session, profile = parts()
        arguments: dict[str, Any] = {"session": session, "profile": profile, "attempts": self.policy.attempts}
        if strategy == "R":
            return await rewrite(calls, prompt=self._rewrite_prompt, **arguments)
        return await generate(calls, prompt=self._generate_prompt, **arguments)


def session_content(turns: Sequence[dict[str, Any]]) -> str:
    """Digest of a session's turns, of which its rows' addresses are made."""
    return digest(turns)


def _turns(session: Session, answers: Sequence[str]) -> tuple[Turn, ...]:
    """The dialogue: the session's own user turns, each with its answer."""
    pairs = zip(session.user_turns, answers, strict=True)
    return tuple(
        turn
        for question, answer in pairs
        for turn in (Turn(role="user", content=question), Turn(role="assistant", content=answer))
    )


def _without_thoughts(answers: Sequence[str]) -> list[str]:
    """The answers of a stored row; an earlier version kept a model's thoughts in them."""
    cleaned = [cut_thoughts(answer).text for answer in answers]
    if any(answer and not text.strip() for answer, text in zip(answers, cleaned, strict=True)):
        raise Unusable("only_reasoning", "an answer held thoughts alone")
    return cleaned


def _is_refused(turns: Sequence[Turn]) -> bool:
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return any(refuses_in_character(question.content, answer.content) for question, answer in pairs)
