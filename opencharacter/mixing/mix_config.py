"""Settings of the mixture."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from opencharacter.characters import PromptView
from opencharacter.records.sampling import Limit, Sampled


def _has_a_share(shares: dict[PromptView, float]) -> dict[PromptView, float]:
    if not sum(shares.values()) > 0:
        raise ValueError("at least one view needs a share above 0")
    return shares


_Amount = Annotated[float, Field(ge=0, lt=math.inf)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GeneralSource(_Settings):
    """General-instruction sessions, mixed in as they are, without a character."""

    name: str
    uri: str
    format: str = "auto"
    license: str
    limit: Limit = None
    sample: Sampled = None
    weight: float = Field(default=1.0, gt=0, lt=math.inf, description="copies of a row; the fraction is drawn by seed")


class HeldOut(_Settings):
    """Shares of characters and of sessions kept out of training."""

    characters: float = Field(default=0.05, ge=0, lt=1)
    sessions: float = Field(default=0.05, ge=0, lt=1)


class MixConfig(_Settings):
    """What goes into the training set and how it is cleaned and split."""

    weights: dict[Literal["R", "G"], _Amount] = Field(
        default={"R": 1.0, "G": 1.0},
        description="copies of a row, the fraction drawn by seed; 0 leaves the strategy out; not named: 1",
    )
    general: list[GeneralSource] = []
    held_out: HeldOut = HeldOut()
    persona_similarity: float = Field(
        default=0.8, gt=0, le=1, description="Jaccard similarity at which personas are one"
    )
    answer_similarity: float = Field(default=0.85, gt=0, le=1, description="the same for answers of one character")
    max_tokens: int = Field(default=4096, ge=16, description="longest row kept, in the student's tokens")
    max_bad_share: float = Field(default=0.05, ge=0, le=1, description="stop if more rows of a general source are bad")
    prompt_views: Annotated[dict[PromptView, _Amount], AfterValidator(_has_a_share)] = Field(
        default={"persona_and_profile": 1.0}, description="seeded shares of what the system message holds"
    )
    after_profile: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="seeded share of training rows whose system message goes on after the profile, with a scenario or"
        " an instruction, as applications send them",
    )
    in_character_refusals: bool = Field(
        default=True, description="keep dialogues in which a character turns down a harmful request in character"
    )
    frozen_suites: list[str] = Field(
        default=[],
        description="suites of your own (folder, s3:// or hf://) that nobody trains on, as on the packaged ones",
    )
    commercial_only: bool = Field(
        default=False, description="keep only rows whose licences are all known to allow commercial use"
    )
