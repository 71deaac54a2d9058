"""Settings of supervised fine-tuning."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LoraSettings(BaseModel):
    """Low-rank adaptation; merged into the weights at the end, so that any server can load the result."""

    model_config = ConfigDict(extra="forbid")

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"


class GenerationDefaults(BaseModel):
    """Sampling that a server uses where a request sets none. The evaluation sets all of these by itself."""

    model_config = ConfigDict(extra="forbid")

    temperature: float = Field(gt=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=2, description="above 1: against repetitions")


class SftConfig(BaseModel):
    """SFT with TRL. Defaults are the paper's where it gives them (Adam 0.9/0.95, lr 1e-5 falling linearly to 1e-6)."""

    model_config = ConfigDict(extra="forbid")

    base_model: str = Field(description="folder, hub id or package:NAME")
    lora: LoraSettings | None = None
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1, description="stop after so many optimizer steps")
    learning_rate: float = Field(default=1e-5, gt=0)
    min_learning_rate: float = Field(default=1e-6, ge=0, description="reached at the last step")
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.95, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=4096, ge=32, description="tokens of a row or pack; longer rows are cut")
    packing: bool = True
    global_batch_size: int = Field(
        default=32, ge=1, description="rows (or packs) per optimizer step over all processes"
    )
    per_device_batch_size: int = Field(default=1, ge=1)
    dtype: Literal["bfloat16", "float32"] = Field(default="bfloat16", description="on CPU always float32")
    gradient_checkpointing: bool = True
    processes: int = Field(default=1, ge=1, description="training processes (GPUs), over all nodes")
    zero_stage: Literal[0, 2, 3] = Field(default=3, description="DeepSpeed ZeRO; used when processes > 1")
    generation_config: GenerationDefaults | None = Field(
        default=None, description="written to the model's generation_config.json; none: as the base model has it"
    )
    save_steps: int = Field(default=200, ge=1, description="optimizer steps between checkpoints")
    logging_steps: int = Field(default=5, ge=1)

    @property
    def gradient_accumulation_steps(self) -> int:
        """Forward passes of each process per optimizer step."""
        return self.global_batch_size // (self.per_device_batch_size * self.processes)

    @property
    def deepspeed_stage(self) -> int:
        """ZeRO stage in use: 0 is plain (data-parallel) training."""
        return self.zero_stage if self.processes > 1 else 0

    @model_validator(mode="after")
    def _check_consistency(self) -> "SftConfig":
        if self.global_batch_size % (self.per_device_batch_size * self.processes):
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is not a multiple of per_device_batch_size"
                f" {self.per_device_batch_size} x processes {self.processes}"
            )
        if self.min_learning_rate >= self.learning_rate:
            raise ValueError(
                f"min_learning_rate {self.min_learning_rate} must be below learning_rate {self.learning_rate}"
            )
        return self
