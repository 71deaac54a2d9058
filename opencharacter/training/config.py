"""Settings of supervised fine-tuning."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LoraSettings(BaseModel):
    """Low-rank adaptation; merged into the weights at the end, so that any server can load the result."""

    model_config = ConfigDict(extra="forbid")

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"


class SftConfig(BaseModel):
    """SFT with TRL. Defaults are the paper's where it gives them (Adam 0.9/0.95, lr 1e-5 falling linearly to 1e-6)."""

    model_config = ConfigDict(extra="forbid")

    base_model: str = Field(description="folder, hub id or package:NAME")
    lora: LoraSettings | None = None
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1, description="stop after so many optimiser steps")
    learning_rate: float = Field(default=1e-5, gt=0)
    min_learning_rate: float = Field(default=1e-6, ge=0)
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    adam_beta1: float = 0.9
    adam_beta2: float = 0.95
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = Field(default=4096, ge=32, description="tokens")
    packing: bool = True
    global_batch_size: int = Field(default=32, ge=1, description="rows (or packs) per optimiser step over all processes")
    per_device_batch_size: int = Field(default=1, ge=1)
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    gradient_checkpointing: bool = True
    processes: int = Field(default=1, ge=1, description="training processes (GPUs) in this pod")
    zero_stage: Literal[0, 2, 3] = Field(default=3, description="DeepSpeed ZeRO; used when processes > 1")
    save_steps: int = Field(default=200, ge=1, description="optimiser steps between checkpoints")
    logging_steps: int = Field(default=5, ge=1)
