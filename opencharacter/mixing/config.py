"""Settings of the mixture."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PromptView = Literal["persona_and_profile", "profile", "persona"]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GeneralSource(_Settings):
    """General-instruction sessions, mixed in as they are, without a character."""

    name: str
    uri: str
    format: str = "auto"
    licence: str
    limit: int | None = Field(default=None, ge=1)
    weight: float = Field(default=1.0, gt=0)


class HeldOut(_Settings):
    """Shares of characters and of sessions kept out of training."""

    characters: float = Field(default=0.05, ge=0, lt=1)
    sessions: float = Field(default=0.05, ge=0, lt=1)


class MixConfig(_Settings):
    """What goes into the training set and how it is cleaned and split."""

    weights: dict[Literal["R", "G"], float] = Field(
        default={"R": 1.0, "G": 1.0}, description="copies of a row per epoch; 0 leaves the strategy out"
    )
    general: list[GeneralSource] = []
    held_out: HeldOut = HeldOut()
    persona_similarity: float = Field(default=0.8, gt=0, le=1, description="Jaccard similarity at which personas are one")
    answer_similarity: float = Field(default=0.85, gt=0, le=1, description="the same for answers of one character")
    max_tokens: int = Field(default=4096, ge=16, description="longest row kept, in the student's tokens")
    prompt_views: dict[PromptView, float] = Field(
        default={"persona_and_profile": 1.0}, description="seeded shares of what the system message holds"
    )
    commercial_only: bool = Field(default=False, description="drop rows under non-commercial licences")
