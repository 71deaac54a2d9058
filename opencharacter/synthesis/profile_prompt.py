"""How a profile is asked for (paper, section 3.1): the request, its worked examples and the schema of the answer."""

import functools
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from opencharacter.characters.profile import ATTRIBUTES
from opencharacter.engines import Sampling
from opencharacter.errors import UserError
from opencharacter.generation.calls import Message
from opencharacter.generation.replies import PromptEcho
from opencharacter.hashing import digest, seed64
from opencharacter.synthesis.synthesis_config import ExampleChoice, ProfilesConfig
from opencharacter.templates import Template, load_template

PROSE = ("appearance", "experience", "personality")
LINE_CHARS = {"name": 60, "age": 20, "gender": 30, "race": 60, "birth_place": 80}
_LEASTPROSE_CHARS = 40
EXAMPLES: dict[ExampleChoice, str] = {"one": "profile_example.md", "drawn": "profile_examples.md"}
"""The template that holds the examples."""


class Example(NamedTuple):
    """A persona and the answer to it, a JSON object."""

    persona: str
    answer: str


def read_examples(template: Template, choice: ExampleChoice) -> tuple[Example, ...]:
    """The examples of a template: a persona, a blank line, its answer. A line `---` separates those that are drawn.

    Raises `UserError` if an example lacks one of the two.
    """
    texts = re.split(r"\n---[ \t]*\n", template.text) if choice == "drawn" else [template.text]
    examples = []
    for number, text in enumerate(texts, 1):
        persona, _, answer = text.strip().partition("\n\n")
        if not (persona.strip() and answer.strip()):
            raise UserError(
                f"prompt template '{template.name}': example {number} is not a persona, a blank line and its profile",
                hint="write the persona on a line and the profile as a JSON object; separate examples by a line ---",
            )
        examples.append(Example(persona, answer))
    return tuple(examples)


@dataclass(frozen=True)
class ProfilePrompt:
    """How profiles are asked for."""

    ask: Template
    examples: Template
    shown: tuple[Example, ...]
    repair: Template
    sampling: Sampling

    @classmethod
    def load(cls, config: ProfilesConfig) -> "ProfilePrompt":
        """The templates `profile.md`, `profile_repair.md` and that of the examples. Raises `UserError`."""
        ask, examples, repair = map(load_template, ("profile.md", EXAMPLES[config.examples], "profile_repair.md"))
        return cls(ask, examples, read_examples(examples, config.examples), repair, config.sampling)

    def example(self, persona: str) -> Example:
        """The example that is shown for a persona, drawn by its hash."""
        return self.shown[seed64("profile example", persona) % len(self.shown)]

    def messages(self, persona: str) -> list[Message]:
        """The request: one worked example, then the persona."""
        example = self.example(persona)
        return [
            {"role": "user", "content": self.ask.render(persona=example.persona)},
            {"role": "assistant", "content": example.answer},
            {"role": "user", "content": self.ask.render(persona=persona)},
        ]

    @functools.cached_property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the answer.

        Its lengths make any model end before `max_tokens`: tokens hold three characters or more in most languages, and
        the three prose attributes share what the short ones leave.
        """
        prose = {"type": "string", "minLength": _LEASTPROSE_CHARS, "maxLength": self.prose_chars}
        lines = {name: {"type": "string", "minLength": 1, "maxLength": most} for name, most in LINE_CHARS.items()}
        return {
            "type": "object",
            "properties": {name: lines.get(name, prose) for name in ATTRIBUTES},
            "required": list(ATTRIBUTES),
            "additionalProperties": False,
        }

    @property
    def prose_chars(self) -> int:
        """Longest prose attribute, in characters."""
        return max(self.sampling.max_tokens - 100, 2 * _LEASTPROSE_CHARS)

    @functools.cached_property
    def hash(self) -> str:
        """Digest of what the model gets besides the persona: templates and schema."""
        return digest([self.ask.hash, self.examples.hash, self.repair.hash, self.schema])

    @functools.cached_property
    def echo(self) -> PromptEcho:
        """Finds this prompt's wording in an answer."""
        return PromptEcho(self.ask.text, self.examples.text, self.repair.text)
