"""From `SftConfig` to the settings of TRL, DeepSpeed and peft."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from opencharacter.training.job import Job
from opencharacter.training.sft_config import SftConfig

if TYPE_CHECKING:
    import trl
    from peft import LoraConfig

Dtype = Literal["bfloat16", "float32"]


class Precision(NamedTuple):
    """Number formats of a training."""

    weights: Dtype
    """What the base model is loaded in."""
    autocast: bool
    """Whether matrix products run in bfloat16."""
    saved: Dtype
    """What the tuned model is saved in."""

    @classmethod
    def choose(cls, config: SftConfig, *, on_cpu: bool) -> "Precision":
        """float32 on CPU; else bfloat16 as configured, with float32 master weights for everything that is trained.

        The master weights are DeepSpeed's under ZeRO, the adapter's own under LoRA, otherwise the model's.
        """
        if on_cpu or config.dtype == "float32":
            return cls("float32", False, "float32")
        keeps_masters = config.deepspeed_stage > 0 or config.lora is not None
        return cls("bfloat16" if keeps_masters else "float32", True, "bfloat16")


def trainer_settings(job: Job, precision: Precision, *, on_cpu: bool) -> "trl.SFTConfig":
    """The trainer's settings. Making them joins the process group."""
    from trl import SFTConfig as TrainerSettings

    config = job.config
    return TrainerSettings(
        output_dir=str(job.folder),
        seed=job.seed % 2**32,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.per_device_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        gradient_checkpointing=config.gradient_checkpointing,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_ratio,
        adam_beta1=config.adam_beta1,
        adam_beta2=config.adam_beta2,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        max_length=config.max_length,
        packing=config.packing,
        packing_strategy="bfd",
        bf16=precision.autocast,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and config.processes > 1 else None,
        dataloader_pin_memory=not on_cpu,
        deepspeed=_deepspeed(config.deepspeed_stage) if config.deepspeed_stage else None,
        save_strategy="steps",
        save_steps=config.save_steps,
        logging_steps=config.logging_steps,
        logging_first_step=True,
        # Without a common disk, each node's checkpoint has to hold everything that its own processes read.
        save_on_each_node=job.nodes.count > 1,
        disable_tqdm=True,
        report_to="none",
        trust_remote_code=False,
    )


def lora_config(config: SftConfig) -> "LoraConfig | None":
    """The adapter to train, if it is one."""
    if config.lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=config.lora.target_modules,
        task_type="CAUSAL_LM",
    )


def _deepspeed(stage: int) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": stage}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
    }
