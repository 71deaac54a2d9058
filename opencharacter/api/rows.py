"""One row at a time: a profile from a persona, a dialogue from a question, made as the pipeline makes them."""

import functools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from opencharacter import synthesis
from opencharacter.api.boundary import public, public_async, wait_for
from opencharacter.api.models import Teacher, as_engine
from opencharacter.characters import DEFAULT_PROMPT, PromptName, PromptView, load_prompt
from opencharacter.characters import system_prompt as render_system_prompt
from opencharacter.characters.profile import CharacterProfile
from opencharacter.engines import Sampling
from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.records.models import DialogueRow, Persona, Session, Turn
from opencharacter.records.personas import normalise, persona_id
from opencharacter.storage.protocols import RowFiles
from opencharacter.storage.workspace import Workspace
from opencharacter.synthesis import ProfilesConfig, ResponsesConfig
from opencharacter.texts import text_fault

_SOURCE = "python"
WorkspaceLike = Workspace | str | Path | None


@public_async
async def make_profile_async(
    persona: str,
    teacher: Teacher,
    *,
    sampling: Sampling | None = None,
    license: str = "unknown",
    seed: int = 0,
    attempts: int = 3,
    workspace: WorkspaceLike = None,
) -> CharacterProfile:
    """`make_profile`, to be awaited; `asyncio.gather` makes several at once."""
    text = normalise(persona)
    if fault := text_fault(text):
        raise UserError(
            f"the persona {fault}",
            hint="describe somebody in one line, such as 'A retired lighthouse keeper who writes to strangers.'",
        )
    given = Persona(id=persona_id(text), text=text, source=_SOURCE, licence=license)
    config = ProfilesConfig(attempts=attempts, sampling=sampling or ProfilesConfig().sampling)
    rows = _rows(workspace, "profiles")
    return await synthesis.make_profile(await as_engine(teacher), given, config, seed=seed, rows=rows)


@public
def make_profile(
    persona: str,
    teacher: Teacher,
    *,
    sampling: Sampling | None = None,
    license: str = "unknown",
    seed: int = 0,
    attempts: int = 3,
    workspace: WorkspaceLike = None,
) -> CharacterProfile:
    """Make a character profile from a one-line persona.

    Args:
        persona: Who the character is, in a line.
        teacher: The model to ask: what `connect` or `local_model` return, an endpoint's URL, or a model reference.
        sampling: Sampling settings; default: the pipeline's.
        license: Licence of the persona, recorded with the profile.
        seed: Another seed gives another profile.
        attempts: Answers to ask for before giving up.
        workspace: Where the answers are kept, so that the same call asks nothing again; default: nowhere.

    Raises:
        UserError: The persona is empty.
        OpenCharacterError: The teacher does not answer, or gives nothing usable.

    Example:
        >>> profile = oc.make_profile("A night-shift baker who talks to her sourdough.", "http://localhost:8000/v1")
        >>> profile.name, profile.personality
    """
    return wait_for(
        make_profile_async(
            persona,
            teacher,
            sampling=sampling,
            license=license,
            seed=seed,
            attempts=attempts,
            workspace=workspace,
        )
    )


@public_async
async def rewrite_async(
    profile: CharacterProfile,
    question: str | Sequence[str],
    answer: str | Sequence[str],
    teacher: Teacher,
    *,
    sampling: Sampling | None = None,
    license: str = "unknown",
    seed: int = 0,
    attempts: int = 3,
    workspace: WorkspaceLike = None,
) -> DialogueRow:
    """`rewrite`, to be awaited; `asyncio.gather` makes several at once."""
    questions, answers = _texts(question, "question"), _texts(answer, "answer")
    if len(questions) != len(answers):
        raise UserError(
            f"{len(questions)} questions and {len(answers)} answers; expected an answer for each question",
            hint="use `generate` where there is no answer to rewrite",
        )
    turns = [
        turn
        for asked, said in zip(questions, answers, strict=True)
        for turn in (Turn(role="user", content=asked), Turn(role="assistant", content=said))
    ]
    config = ResponsesConfig(attempts=attempts, rewrite_sampling=sampling or ResponsesConfig().rewrite_sampling)
    return await _dialogue("R", profile, turns, teacher, config, license, seed, workspace)


@public
def rewrite(
    profile: CharacterProfile,
    question: str | Sequence[str],
    answer: str | Sequence[str],
    teacher: Teacher,
    *,
    sampling: Sampling | None = None,
    license: str = "unknown",
    seed: int = 0,
    attempts: int = 3,
    workspace: WorkspaceLike = None,
) -> DialogueRow:
    """Rewrite an ordinary answer as a character would give it (OpenCharacter-R).

    Args:
        profile: The character.
        question: What the user asks; a list for a conversation of several turns.
        answer: The ordinary answer to it; a list of the same length for several turns.
        teacher: The model to ask: what `connect` or `local_model` return, an endpoint's URL, or a model reference.
        sampling: Sampling settings; default: the pipeline's.
        license: Licence of question and answer, recorded with the dialogue.
        seed: Another seed gives another dialogue.
        attempts: Answers to ask for before giving up.
        workspace: Where the answers are kept, so that the same call asks nothing again; default: nowhere.

    Raises:
        UserError: A text is empty, or questions and answers do not match.
        OpenCharacterError: The teacher does not answer, or gives nothing usable.

    Example:
        >>> dialogue = oc.rewrite(profile, "How do I boil an egg?", "Seven minutes in boiling water.", teacher)
        >>> dialogue.turns[-1].content
    """
    return wait_for(
        rewrite_async(
            profile,
            question,
            answer,
            teacher,
            sampling=sampling,
            license=license,
            seed=seed,
            attempts=attempts,
            workspace=workspace,
        )
    )


@public_async
async def generate_async(
    profile: CharacterProfile,
    question: str | Sequence[str],
    teacher: Teacher,
    *,
    sampling: Sampling | None = None,
    license: str = "unknown",
    seed: int = 0,
    attempts: int = 3,
    workspace: WorkspaceLike = None,
    system_prompt: PromptName = DEFAULT_PROMPT,
) -> DialogueRow:
    """`generate`, to be awaited; `asyncio.gather` makes several at once."""
    turns: list[Turn] = []
    for asked in _texts(question, "question"):
        # A session alternates; G replaces the answers between the questions.
        turns += [Turn(role="assistant", content="")] * bool(turns) + [Turn(role="user", content=asked)]
    config = ResponsesConfig(attempts=attempts, generate_sampling=sampling or ResponsesConfig().generate_sampling)
    return await _dialogue("G", profile, turns, teacher, config, license, seed, workspace, system_prompt=system_prompt)


@public
def generate(
    profile: CharacterProfile,
    question: str | Sequence[str],
    teacher: Teacher,
    *,
    sampling: Sampling | None = None,
    license: str = "unknown",
    seed: int = 0,
    attempts: int = 3,
    workspace: WorkspaceLike = None,
    system_prompt: PromptName = DEFAULT_PROMPT,
) -> DialogueRow:
    """Let a character answer a question (OpenCharacter-G).

    Args:
        profile: The character.
        question: What the user asks; a list for a conversation, in which each answer is given knowing those before it.
        teacher: The model to ask: what `connect` or `local_model` return, an endpoint's URL, or a model reference.
        sampling: Sampling settings; default: the pipeline's.
        license: Licence of the question, recorded with the dialogue.
        seed: Another seed gives another dialogue.
        attempts: Answers to ask for, at each turn, before giving up.
        workspace: Where the answers are kept, so that the same call asks nothing again; default: nowhere.
        system_prompt: Which system prompt the teacher gets: `immersive` or `paper`.

    Raises:
        UserError: A question is empty.
        OpenCharacterError: The teacher does not answer, or gives nothing usable.

    Example:
        >>> dialogue = oc.generate(profile, ["How do I fall asleep?", "And if that fails?"], teacher)
        >>> dialogue.turns[-1].content
    """
    return wait_for(
        generate_async(
            profile,
            question,
            teacher,
            sampling=sampling,
            license=license,
            seed=seed,
            attempts=attempts,
            workspace=workspace,
            system_prompt=system_prompt,
        )
    )


@public
def render_prompt(
    profile: CharacterProfile,
    view: PromptView = "persona_and_profile",
    *,
    system_prompt: PromptName = DEFAULT_PROMPT,
) -> str:
    """The system prompt of a character, as generation, training, evaluation and serving use it.

    Args:
        profile: The character.
        view: What the prompt holds: `persona_and_profile`, `profile` or `persona`.
        system_prompt: `immersive` speaks as the character itself, `paper` as an AI that plays it.

    Raises:
        UserError: A replaced template uses an unknown macro.

    Example:
        >>> print(oc.render_prompt(oc.CharacterProfile(name="Ada", personality="Dry and exact.")))
    """
    return render_system_prompt(profile, view, load_prompt(system_prompt))


@functools.cache
def scratch_workspace() -> Workspace:
    """The workspace of this process for calls that name none; its folder is kept until you delete it.

    Example:
        >>> oc.scratch_workspace().uri
    """
    from opencharacter.api.outputs import Workspace as NotebookWorkspace

    folder = tempfile.mkdtemp(prefix="opencharacter-")
    print(f"answers are kept in {folder}; give `workspace=` to choose another folder", file=sys.stderr)
    return NotebookWorkspace(folder)


def as_workspace(workspace: WorkspaceLike) -> Workspace:
    """The workspace that an argument names."""
    if workspace is None:
        return scratch_workspace()
    return workspace if isinstance(workspace, Workspace) else Workspace(workspace)


async def _dialogue(
    strategy: Literal["R", "G"],
    profile: CharacterProfile,
    turns: Sequence[Turn],
    teacher: Teacher,
    config: ResponsesConfig,
    license: str,
    seed: int,
    workspace: WorkspaceLike,
    **options: Any,
) -> DialogueRow:
    session_id = digest([_SOURCE, [turn.model_dump() for turn in turns]])[:16]
    session = Session(id=session_id, corpus=_SOURCE, turns=tuple(turns), source=_SOURCE, licence=license)
    make = synthesis.rewrite_session if strategy == "R" else synthesis.generate_session
    rows = _rows(workspace, "responses")
    return await make(await as_engine(teacher), session, profile, config, seed=seed, rows=rows, **options)


def _rows(workspace: WorkspaceLike, name: str) -> RowFiles | None:
    return None if workspace is None else as_workspace(workspace).rows(name)


def _texts(value: str | Sequence[str], what: str) -> list[str]:
    texts = [value] if isinstance(value, str) else list(value)
    if fault := next(filter(None, map(text_fault, texts)), None if texts else "is empty"):
        raise UserError(f"the {what} {fault}")
    return texts
