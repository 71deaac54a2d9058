"""The files that training writes next to the weights."""

from typing import Any

from pydantic import BaseModel, Field


class LossPoint(BaseModel):
    """The training loss over the optimizer steps since the previous point."""

    step: int
    epoch: float
    loss: float = Field(description="mean over response tokens, nats")
    learning_rate: float
    grad_norm: float
    tokens_per_s: float


class Lineage(BaseModel):
    """Where a model comes from; kept in the model folder as `opencharacter/model.json`."""

    base_model: str
    mixture_uri: str
    mixture_digest: str
    licences: dict[str, int] = Field(
        description="rows of the training data by licence, without the base model's licence"
    )
    system_prompt: str = Field(default="immersive", description="name of the system prompt that it was trained with")
    prompt_hash: str = Field(description="content hash of `system.md` in the same folder")
    library: str
    seed: int
    config: dict[str, Any] = Field(description="the settings of the training (`SftConfig`)")
