"""What a report is made of."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opencharacter.characters.profile import CharacterProfile
from opencharacter.records.evaluation import GRID
from opencharacter.storage.kinds import suite_of
from opencharacter.storage.workspace import Artifact


class ModelAnswer(BaseModel):
    """What a model answered."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(default=None, description="the model's address, such as models:/NAME@champion")
    text: str
    fault: str | None = Field(default=None, description="why the text counts as incoherent, and is not shown at once")
    cut: bool = Field(default=False, description="the model had not ended it; the text is its whole sentences")
    draws: int = Field(default=1, description="how often the model was asked until a text was coherent")


class ServedAnswer(BaseModel):
    """One question to a character that training never saw, as the tuned model and the base model answer it."""

    model_config = ConfigDict(extra="forbid")

    profile: CharacterProfile
    question: str
    tuned: ModelAnswer
    base: ModelAnswer | None = Field(default=None, description="the same question, prompt and sampling")
    notes: list[str] = Field(default=[], description="how the answers were drawn, and what to expect of them")

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_report(cls, fields: Any) -> Any:
        """Reports of version 0.1 hold one answer."""
        if not isinstance(fields, dict) or "answer" not in fields:
            return fields
        kept = {name: fields[name] for name in fields if name not in ("answer", "model")}
        return kept | {"tuned": {"text": fields["answer"], "model": fields.get("model")}}


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
    evaluations: list[Artifact] = Field(default=[], description="one for each suite")
    decision: dict[str, Any] | None = Field(default=None, description="the gate's decision")
    registered: dict[str, Any] | None = Field(default=None, description="the registered model version")
    deployment: Artifact | None = None
    served: ServedAnswer | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_one_suite(cls, fields: Any) -> Any:
        """Reports of version 0.1 hold one evaluation."""
        if not isinstance(fields, dict) or "evaluation" not in fields:
            return fields
        only = fields["evaluation"]
        kept = {name: value for name, value in fields.items() if name != "evaluation"}
        return kept | {"evaluations": [only] if only else []}

    @property
    def evaluation(self) -> Artifact | None:
        """That of the suite `grid`."""
        return next((ref for ref in self.evaluations if suite_of(ref) == GRID), None)

    def stages(self) -> dict[str, Artifact]:
        """The outputs that exist, in the order of the pipeline."""
        before = ("personas", "sessions", "characters", "dialogues", "mixture", "model")
        stages = {name: getattr(self, name) for name in before}
        for ref in self.evaluations:
            suite = suite_of(ref)
            stages["evaluation" if suite == GRID else f"evaluation, {suite}"] = ref
        stages["deployment"] = self.deployment
        return {name: ref for name, ref in stages.items() if ref is not None}
