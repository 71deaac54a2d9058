"""What a report is made of."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.characters.profile import CharacterProfile
from opencharacter.storage.workspace import Artifact


class ServedAnswer(BaseModel):
    """What the served model said at the end of a run, as a character that it never saw."""

    model_config = ConfigDict(extra="forbid")

    profile: CharacterProfile
    question: str
    answer: str
    model: str | None = Field(default=None, description="the model's address, such as models:/NAME@champion")


class ReportInputs(BaseModel):
    """References to a run's outputs. Whatever is absent is left out of the report."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="name of the run")
    seed: int | None = None
    characters: Artifact
    shards: list[Artifact] = Field(default=[], description="outputs of the synthesis stages' shards, for their times")
    personas: Artifact | None = None
    sessions: Artifact | None = None
    dialogues: Artifact | None = None
    mixture: Artifact | None = None
    model: Artifact | None = None
    evaluation: Artifact | None = None
    decision: dict[str, Any] | None = Field(default=None, description="the gate's decision")
    registered: dict[str, Any] | None = Field(default=None, description="the registered model version")
    deployment: Artifact | None = None
    served: ServedAnswer | None = None

    def stages(self) -> dict[str, Artifact]:
        """The outputs that exist, in the order of the pipeline."""
        names = ("personas", "sessions", "characters", "dialogues", "mixture", "model", "evaluation", "deployment")
        return {name: ref for name in names if (ref := getattr(self, name)) is not None}
