"""OpenCharacter-G: a character answers a session's user turns, one after the other (paper, section 3.3)."""

import functools
from dataclasses import dataclass
from typing import Any

from opencharacter.characters import system_prompt
from opencharacter.characters.profile import CharacterProfile
from opencharacter.generation.calls import Message, RowCalls
from opencharacter.generation.checks import PromptEcho, check_answer
from opencharacter.generation.rows import first_usable
from opencharacter.records.models import Session
from opencharacter.templates import Template, load_template


@dataclass(frozen=True)
class GeneratePrompt:
    """The character's system prompt, the same as in training and serving (docs/design.md, decision 6)."""

    template: Template

    @classmethod
    def load(cls) -> "GeneratePrompt":
        """The template `system.md`."""
        return cls(load_template("system.md"))

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
    """`answers`, one for each user turn, each given the answers before it. Raises `Unusable`.

    Each turn has its own attempts, and each call is journalled: a resumed session goes on at the turn where it stood.
    """
    messages: list[Message] = [{"role": "system", "content": system_prompt(profile, template=prompt.template)}]
    answers: list[str] = []
    for turn, question in enumerate(session.user_turns, 1):
        messages.append({"role": "user", "content": question})

        async def attempt(number: int, turn: int = turn, question: str = question) -> str:
            reply = await calls.ask(f"{turn}.{number}", messages)
            return check_answer(reply.text, cut_off=reply.cut_off, echo=prompt.echo, question=question)

        answers.append(await first_usable(attempts, attempt))
        messages.append({"role": "assistant", "content": answers[-1]})
    return {"answers": answers}
