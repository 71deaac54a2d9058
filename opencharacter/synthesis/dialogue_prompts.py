"""The two ways to make a dialogue of a session and a character.

R rewrites the session's answers in one call (paper, section 3.2). G answers its user turns one by one (section 3.3).
"""

import functools
from dataclasses import dataclass
from typing import Any

from opencharacter.characters import DEFAULT_PROMPT, PromptName, load_prompt, render_profile, system_prompt
from opencharacter.characters.profile import CharacterProfile
from opencharacter.engines.engine_config import Sampling
from opencharacter.generation.calls import Message, Reply, RowCalls
from opencharacter.generation.errors import Unusable
from opencharacter.generation.replies import PromptEcho, check_answer, read_object
from opencharacter.generation.rows import first_usable
from opencharacter.hashing import digest
from opencharacter.records.models import Session
from opencharacter.templates import Template, load_template


@dataclass(frozen=True)
class RewritePrompt:
    """How a session's rewriting is asked for."""

    template: Template
    sampling: Sampling

    @classmethod
    def load(cls, sampling: Sampling) -> "RewritePrompt":
        """The template `rewrite.md`."""
        return cls(load_template("rewrite.md"), sampling)

    @functools.cached_property
    def hash(self) -> str:
        """Digest of what the model gets besides session and character: template and schema."""
        return digest([self.template.hash, self.schema(1)])

    @functools.cached_property
    def echo(self) -> PromptEcho:
        """Finds this prompt's wording in an answer."""
        return PromptEcho(self.template.text)

    def answer_chars(self, count: int) -> int:
        """Longest of `count` answers: three characters a token, so that any model ends before `max_tokens`."""
        return max(3 * self.sampling.max_tokens // count - 50, 100)

    def schema(self, count: int) -> dict[str, Any]:
        """JSON schema of the reply: `{"answers": [...]}` with exactly `count` texts."""
        text = {"type": "string", "minLength": 1, "maxLength": self.answer_chars(count)}
        texts = {"type": "array", "items": text, "minItems": count, "maxItems": count}
        properties = {"answers": texts}
        return {"type": "object", "properties": properties, "required": ["answers"], "additionalProperties": False}

    def render(self, session: Session, profile: CharacterProfile) -> str:
        """The prompt for one session and character."""
        return self.template.render(
            name=profile.label,
            profile=render_profile(profile),
            persona=profile.persona or "",
            conversation="\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in session.turns),
            count=str(len(session.user_turns)),
        )


async def rewrite(
    calls: RowCalls, *, session: Session, profile: CharacterProfile, prompt: RewritePrompt, attempts: int
) -> dict[str, Any]:
    """`answers`, one for each user turn, and `unchanged`, how many equal the source's. Raises `Unusable`.

    Only the answers are taken from the reply; the user's turns stay the session's own.
    """
    messages = [{"role": "user", "content": prompt.render(session, profile)}]
    schema = prompt.schema(len(session.user_turns))

    async def attempt(number: int) -> list[str]:
        return _check(await calls.ask(f"{number}", messages, schema=schema), session, prompt)

    answers: list[str] = await first_usable(attempts, attempt)
    before = [turn.content.strip() for turn in session.turns if turn.role == "assistant"]
    return {"answers": answers, "unchanged": sum(map(str.__eq__, answers, before))}


def _check(reply: Reply, session: Session, prompt: RewritePrompt) -> list[str]:
    answers = read_object(reply.text).get("answers")
    questions = session.user_turns
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise Unusable("invalid_json")
    if len(answers) != len(questions):
        raise Unusable("truncated" if reply.cut_off and len(answers) < len(questions) else "turn_count")
    checked: list[str] = []
    for answer, question in zip(answers, questions, strict=True):
        at_the_end = reply.cut_off and len(checked) == len(answers) - 1
        cut_off = at_the_end or len(answer) >= prompt.answer_chars(len(answers))
        checked.append(check_answer(answer, cut_off=cut_off, echo=prompt.echo, question=question))
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
