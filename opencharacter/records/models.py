"""The rows that the steps pass to each other. All are JSON objects in JSONL files, one a line."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from opencharacter import html

Role = Literal["system", "user", "assistant"]
Strategy = Literal["R", "G", "general"]
Cell = Literal["train", "seen_character_held_out_session", "held_out_character_seen_session", "held_out_both"]
"""A row's cell in the grid {characters seen, held out} x {sessions seen, held out} (docs/design.md, decision 11)."""

HELD_OUT_CELLS: tuple[Cell, ...] = (
    "seen_character_held_out_session",
    "held_out_character_seen_session",
    "held_out_both",
)


class Turn(BaseModel):
    """One message of a conversation, in the chat `messages` form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    content: str


class Persona(BaseModel):
    """A one-line persona, the seed of a character profile (paper, section 3.1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(description="content address of the normalised text")
    text: str
    source: str = Field(description="name of the data set")
    licence: str


class Session(BaseModel):
    """An instruction session: user turns, each followed by the source's answer if there is one.

    Turns alternate and start with a user turn. A session without answers ends in a user turn and serves G only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(description="content address of corpus name and turns")
    corpus: str = Field(description="name of the corpus in the run configuration")
    turns: tuple[Turn, ...]
    source: str
    licence: str

    @property
    def user_turns(self) -> list[str]:
        """The user's messages, in order."""
        return [turn.content for turn in self.turns if turn.role == "user"]

    @property
    def has_answers(self) -> bool:
        """Whether every user turn is answered, as R needs."""
        return len(self.turns) == 2 * len(self.user_turns)


class Usage(BaseModel):
    """LLM calls and tokens, as the server counted them."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


class DialogueRow(BaseModel):
    """One session played by one character: the result of R or G, rejected ones included."""

    model_config = ConfigDict(extra="forbid")

    row_id: str = Field(description="content address (docs/design.md, decision 3)")
    corpus: str
    session_id: str
    character_id: str
    strategy: Strategy
    status: Literal["ok", "rejected"] = "ok"
    reason: str | None = Field(default=None, description="why the row was rejected, a short stable word")
    detail: str | None = Field(default=None, description="why, in words", exclude_if=lambda detail: detail is None)
    turns: tuple[Turn, ...] = Field(description="user and assistant turns, without the system message")
    refusal: Literal["in_character"] | None = Field(
        default=None,
        description="in_character: the character turns down a harmful request",
        exclude_if=lambda refusal: refusal is None,
    )
    source: str
    licence: str
    model: str = Field(description="the teacher")
    prompt_hash: str
    usage: Usage = Usage()
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description="unknown keys of imported rows; `quality`: what the quality judge says",
    )

    def _repr_html_(self) -> str:
        """How a notebook shows the dialogue."""
        status = f"{self.status}: {self.reason}" if self.reason else self.status
        subtitle = f"{status} · character {self.character_id} · {self.corpus} · {self.model}"
        return _conversation_card(self.strategy, self.turns, subtitle)


class TrainingRow(BaseModel):
    """A row of the mixture, in chat `messages` form; TRL and evaluation read it."""

    model_config = ConfigDict(extra="forbid")

    row_id: str
    messages: list[Turn] = Field(description="system message first where the row has a character")
    character_id: str | None = Field(description="none for general-instruction rows")
    session_id: str
    strategy: Strategy
    cell: Cell
    source: str
    licence: str
    prompt_view: Literal["persona_and_profile", "profile", "persona", "none"] = Field(
        description="what of the character the system message holds"
    )
    after_profile: Literal["scenario", "instruction", "none"] = Field(
        default="none", description="what else the system message holds, after the character"
    )

    def _repr_html_(self) -> str:
        """How a notebook shows the row."""
        return _conversation_card(self.strategy, self.messages, f"{self.cell} · {self.source} · {self.licence}")


def _conversation_card(strategy: Strategy, turns: Sequence[Turn], subtitle: str) -> str:
    title = {"R": "R (rewritten)", "G": "G (generated)", "general": "general instruction"}[strategy]
    return html.card(title, html.conversation((turn.role, turn.content) for turn in turns), subtitle=subtitle)
