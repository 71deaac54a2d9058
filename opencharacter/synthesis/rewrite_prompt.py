"""How R asks for a session's rewriting, and how much room each answer has (paper, section 3.2)."""

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opencharacter.characters import render_profile
from opencharacter.characters.profile import CharacterProfile
from opencharacter.engines.engine_config import Sampling
from opencharacter.generation.replies import PromptEcho
from opencharacter.hashing import digest
from opencharacter.records.models import Session
from opencharacter.synthesis.synthesis_config import RewriteRoom
from opencharacter.templates import Template, load_template

_BYTES_PER_TOKEN = 3
"""Tokens hold three bytes of UTF-8 or more in most languages, so any model ends before `max_tokens`."""
_GROWTH = 1.5
_LEAST_TOKENS = 256
_JSON_TOKENS = 16
"""Quotes, comma and escapes of an answer."""
_LONGEST_BOUND = 2000
"""llama.cpp's grammar takes no longer bound of a text."""
_ESCAPED = re.compile(r'["\\\n\r\t]')
"""xgrammar (vLLM) forbids these in a text of bounded length: a list or code would lose its lines."""


@dataclass(frozen=True)
class Room:
    """What one rewriting may hold."""

    max_tokens: int
    answer_chars: tuple[int | None, ...]
    """The longest that each answer may be; none: only `max_tokens` limits it."""


@dataclass(frozen=True)
class RewritePrompt:
    """How a session's rewriting is asked for."""

    template: Template
    sampling: Sampling
    room: RewriteRoom = "even"

    @classmethod
    def load(cls, sampling: Sampling, room: RewriteRoom = "even") -> "RewritePrompt":
        """The template `rewrite.md`."""
        return cls(load_template("rewrite.md"), sampling, room)

    @functools.cached_property
    def hash(self) -> str:
        """Digest of what the model gets besides session and character: template, schema and the rule for the room."""
        if self.room == "even":
            return digest([self.template.hash, self.schema(self.even_room(1))])
        rule = [_BYTES_PER_TOKEN, _GROWTH, _LEAST_TOKENS, _JSON_TOKENS, _LONGEST_BOUND, _ESCAPED.pattern]
        return digest([self.template.hash, self.room, rule, self.schema(self._session_room([""]))])

    @functools.cached_property
    def echo(self) -> PromptEcho:
        """Finds this prompt's wording in an answer."""
        return PromptEcho(self.template.text)

    def room_for(self, session: Session) -> Room:
        """What the rewriting of a session may hold: the same for each answer, or by the answer that is rewritten."""
        answers = [turn.content for turn in session.turns if turn.role == "assistant"]
        return self._session_room(answers) if self.room == "session" else self.even_room(len(answers))

    def even_room(self, count: int) -> Room:
        """`max_tokens` shared evenly by `count` answers."""
        most = self.sampling.max_tokens
        return Room(most, (max(_BYTES_PER_TOKEN * most // count - 50, 100),) * count)

    def _session_room(self, answers: Sequence[str]) -> Room:
        """Half as much again as each answer has, at least a short paragraph and at most `max_tokens`."""
        tokens, chars = 0, list[int | None]()
        for answer in answers:
            size = len(answer.encode("utf-8", "replace"))
            room = min(max(math.ceil(_GROWTH * size / _BYTES_PER_TOKEN), _LEAST_TOKENS), self.sampling.max_tokens)
            most = round(room * _BYTES_PER_TOKEN * len(answer) / size) if size else room * _BYTES_PER_TOKEN
            tokens += room + _JSON_TOKENS
            chars.append(None if most > _LONGEST_BOUND or _ESCAPED.search(answer) else most)
        return Room(tokens + _JSON_TOKENS, tuple(chars))

    def schema(self, room: Room) -> dict[str, Any]:
        """JSON schema of the reply: `{"answers": [...]}` with exactly one text for each user turn."""
        texts: dict[str, Any] = {
            "type": "array",
            "minItems": len(room.answer_chars),
            "maxItems": len(room.answer_chars),
        }
        bounds = [_text(chars) for chars in room.answer_chars]
        texts |= {"items": bounds[0]} if len(set(room.answer_chars)) == 1 else {"prefixItems": bounds, "items": False}
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


def _text(most: int | None) -> dict[str, Any]:
    return {"type": "string"} if most is None else {"type": "string", "minLength": 1, "maxLength": most}
