"""The two ways to make a dialogue of a session and a character.

R rewrites the session's answers in one call (paper, section 3.2). G answers its user turns one by one (section 3.3).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opencharacter.characters import DEFAULT_PROMPT, PromptName, load_prompt, render_profile, system_prompt
from opencharacter.characters.profile import CharacterProfile
from opencharacter.generation.calls import Message, Reply, RowCalls
from opencharacter.generation.control_tokens import require_no_control_token
from opencharacter.generation.errors import Unusable
from opencharacter.generation.replies import CheckedAnswer, PromptEcho, check_answer, ends_early, read_object
from opencharacter.generation.rows import first_usable
from opencharacter.records.models import Session
from opencharacter.synthesis.rewrite_prompt import RewritePrompt, Room
from opencharacter.templates import Template


async def rewrite(
    calls: RowCalls, *, session: Session, profile: CharacterProfile, prompt: RewritePrompt, attempts: int
) -> dict[str, Any]:
    """The answers, one for each user turn, and how many of them equal the source's or were cut. Raises `Unusable`.

    Only the answers are taken from the reply; the user's turns stay the session's own.
    """
    require_no_control_token(*(turn.content for turn in session.turns), render_profile(profile))
    messages = [{"role": "user", "content": prompt.render(session, profile)}]
    room = prompt.room_for(session)

    async def ask(key: str, room: Room) -> list[CheckedAnswer]:
        reply = await calls.ask(key, messages, schema=prompt.schema(room), max_tokens=room.max_tokens)
        return _check(reply, session, room, prompt.echo)

    async def attempt(number: int) -> list[CheckedAnswer]:
        try:
            return await ask(f"{number}", room)
        except Unusable as error:
            if error.reason != "refused_by_server" or room.max_tokens <= prompt.sampling.max_tokens:
                raise
        # The session may not fit the model with as much room as it should have.
        return await ask(f"{number}.short", prompt.even_room(len(session.user_turns)))

    checked: list[CheckedAnswer] = await first_usable(attempts, attempt)
    before = [turn.content.strip() for turn in session.turns if turn.role == "assistant"]
    answers = [answer.text for answer in checked]
    return _content(checked) | {"unchanged": sum(map(str.__eq__, answers, before))}


def _content(checked: Sequence[CheckedAnswer]) -> dict[str, Any]:
    """What a row keeps of its answers; `cut` counts those that were trimmed to whole sentences."""
    return {"answers": [answer.text for answer in checked], "cut": sum(answer.cut for answer in checked)}


def _check(reply: Reply, session: Session, room: Room, echo: PromptEcho) -> list[CheckedAnswer]:
    answers = read_object(reply.text).get("answers")
    questions = session.user_turns
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise Unusable("invalid_json")
    cut_off = ends_early(reply.text, cut_off=reply.cut_off)
    if len(answers) != len(questions):
        raise Unusable("truncated" if cut_off and len(answers) < len(questions) else "turn_count")
    checked: list[CheckedAnswer] = []
    for answer, question, most in zip(answers, questions, room.answer_chars, strict=True):
        # A server that was held to the schema stops at its limit; an answer that is longer was not held to it.
        at_limit = reply.structured and len(answer) == most
        at_the_end = cut_off and len(checked) == len(answers) - 1
        checked.append(check_answer(answer, cut_off=at_limit or at_the_end, echo=echo, question=question))
    return checked


@dataclass(frozen=True)
class GeneratePrompt:
    """The character's system prompt, the same as in training and serving (docs/design.md, decision 6)."""

    template: Template

    @classmethod
    def load(cls, name: PromptName = DEFAULT_PROMPT) -> "GeneratePrompt":
        """The template of a named system prompt."""
        return cls(load_prompt(name))

    @property
    def hash(self) -> str:
        """Hash of the template."""
        return self.template.hash

    @functools.cached_property
    def echo(self) -> PromptEcho:
        """Finds this prompt's wording in an answer."""
        return PromptEcho(self.template.text)


async def generate(
    calls: RowCalls, *, session: Session, profile: CharacterProfile, prompt: GeneratePrompt, attempts: int
) -> dict[str, Any]:
    """The answers, one for each user turn, each given the answers before it, and how many were cut. Raises `Unusable`.

    Each turn has its own attempts, and each call is journalled: a resumed session goes on at the turn where it stood.
    """
    system = system_prompt(profile, template=prompt.template)
    require_no_control_token(*session.user_turns, system)
    messages: list[Message] = [{"role": "system", "content": system}]
    answers: list[CheckedAnswer] = []
    for turn, question in enumerate(session.user_turns, 1):
        messages.append({"role": "user", "content": question})

        async def attempt(number: int, turn: int = turn, question: str = question) -> CheckedAnswer:
            reply = await calls.ask(f"{turn}.{number}", messages)
            return check_answer(reply.text, cut_off=reply.cut_off, echo=prompt.echo, question=question)

        answers.append(await first_usable(attempts, attempt))
        messages.append({"role": "assistant", "content": answers[-1].text})
    return _content(answers)
