"""What a stage does, in rows, calls and tokens; the terms in which the parts of a plan talk to each other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from opencharacter.characters import PromptView
from opencharacter.cluster.spec import StepName
from opencharacter.config.run import RunConfig
from opencharacter.planning.figures import Ledger
from opencharacter.planning.inputs import InputCount
from opencharacter.planning.tokens import TextLengths
from opencharacter.templates import load_template

_ROW_BYTES = 600
"""Ids, names and licences of a row, as JSON."""


@dataclass(frozen=True)
class Load:
    """Chat calls to one model: as many as there are if every first answer is usable, and as the attempts allow."""

    calls: int = 0
    calls_at_most: int = 0
    tokens_in: float = 0
    tokens_out: float = 0

    def __add__(self, other: "Load") -> "Load":
        return Load(
            self.calls + other.calls,
            self.calls_at_most + other.calls_at_most,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
        )


@dataclass(frozen=True)
class Work:
    """What a stage does."""

    step: StepName
    rows: int
    what: str
    """What the rows are."""
    loads: dict[str, Load] = field(default_factory=dict)
    """Calls to the run's engines, by name."""
    own: Load = Load()
    """Calls to the models under evaluation."""
    trained_tokens: float = 0
    optimiser_steps: int = 0
    scored_tokens: float = 0
    stored_bytes: float = 0
    """What the stage leaves in the workspace, not compressed."""

    @property
    def total(self) -> Load:
        """All chat calls."""
        return sum(self.loads.values(), self.own)


@dataclass(frozen=True)
class Dialogues:
    """Dialogues that are alike: of one strategy and source."""

    strategy: str
    rows: int
    turns: float
    """Mean user turns."""
    text_tokens: float
    """Mean tokens of user and assistant turns."""
    weight: float = 1.0


class Texts:
    """Mean lengths of what prompts and rows are made of, in tokens."""

    def __init__(self, config: RunConfig, inputs: Iterable[InputCount], ledger: Ledger, lengths: TextLengths) -> None:
        self.assumed = ledger
        self._lengths = lengths
        personas = [count for count in inputs if count.what == "personas"]
        rows = sum(count.rows for count in personas)
        told = sum(count.user_tokens for count in personas)
        self.persona = told / rows if rows else self.assumed("persona_tokens")
        self.profile = self.assumed("profile_tokens")
        if not config.inputs.release:
            self.profile = min(self.profile, config.profiles.sampling.max_tokens)
        self.answer = self.assumed("answer_tokens")
        if not config.inputs.release:
            self.answer = min(self.answer, config.responses.generate_sampling.max_tokens)

    def template(self, name: str) -> float:
        """A prompt template."""
        return self._lengths.count(load_template(name).text)

    def system(self, views: Mapping[PromptView, float]) -> float:
        """The system message, under shares of prompt views."""
        of_view: dict[PromptView, float] = {
            "persona_and_profile": self.persona + self.profile,
            "profile": self.profile,
            "persona": self.persona,
        }
        total = sum(views.values())
        return self.template("system.md") + sum(share / total * of_view[view] for view, share in views.items())

    def row(self, dialogues: Dialogues, views: Mapping[PromptView, float]) -> float:
        """A training row; those of general instructions have no system message."""
        system = 0.0 if dialogues.strategy == "general" else self.system(views)
        messages = 2 * dialogues.turns + (dialogues.strategy != "general")
        return system + dialogues.text_tokens + messages * self.assumed("mark_tokens")

    def bytes(self, tokens: float, rows: float) -> float:
        """Rows as JSON, not compressed."""
        return tokens * self._lengths.chars_per_token + rows * _ROW_BYTES
