"""Loading the base model and saving the tuned one as a plain folder that any server loads."""

from typing import TYPE_CHECKING, Any

from opencharacter.chat_templates import give_chat_template
from opencharacter.errors import UserError
from opencharacter.training.job import Event, Job
from opencharacter.training.worker.chat_template import end_of_turn
from opencharacter.training.worker.trainer_settings import Precision

if TYPE_CHECKING:
    from trl import SFTTrainer


def load_base(job: Job, precision: Precision) -> tuple[Any, Any]:
    """The base model and its tokenizer, ready to be trained.

    A model without a chat template is given one. The end-of-turn token that will be learned is among those that end a
    generation, and sampling has the configured defaults. Raises `UserError` for a folder without safetensors or with a
    chat template that can't be trained with.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.base_model, trust_remote_code=False)
    model = _load_weights(job, precision.weights)
    if not tokenizer.chat_template:
        _add_chat_template(job, model, tokenizer)
    _stop_at(model, end_of_turn(tokenizer))
    if job.config.generation_config:
        model.generation_config.update(do_sample=True, **job.config.generation_config.model_dump())
    return model, tokenizer


def save_tuned(trainer: "SFTTrainer", job: Job, precision: Precision) -> None:
    """Save weights (safetensors), tokenizer with its own chat template, and generation settings.

    Called by every process: ZeRO-3 gathers the weights from all of them.
    """
    trainer.args.save_on_each_node = False  # unlike checkpoints, the result is the first node's
    if job.config.lora:
        from peft import PeftModel

        adapter = job.folder / "adapter"
        trainer.save_model(str(adapter))
        if trainer.is_world_process_zero():
            model, tokenizer = load_base(job, precision._replace(weights=precision.saved))
            PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(job.model)
            tokenizer.save_pretrained(job.model)
        return
    if not job.config.deepspeed_stage:
        trainer.accelerator.unwrap_model(trainer.model).to(_torch_dtype(precision.saved))
    trainer.save_model(str(job.model))
    if trainer.is_world_process_zero():
        (job.model / "training_args.bin").unlink()


def _load_weights(job: Job, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            job.base_model, dtype=_torch_dtype(dtype), use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"base model {job.config.base_model} can't be loaded: {error}",
            hint="a base model is a Hugging Face folder of a causal language model, with config.json and safetensors",
        ) from error


def _add_chat_template(job: Job, model: Any, tokenizer: Any) -> None:
    if job.config.lora:
        raise UserError(
            f"base model {job.config.base_model} has no chat template, and LoRA can't teach it one (the adapter leaves"
            " the embeddings as they are)",
            hint="train all weights (lora: null), or start from an instruct model",
        )
    give_chat_template(tokenizer)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    Event(kind="warning", message="the base model has no chat template: it is given one, saved with the result").emit()


def _stop_at(model: Any, token: int) -> None:
    known = model.generation_config.eos_token_id
    stops = [] if known is None else [known] if isinstance(known, int) else list(known)
    if token not in stops:
        model.generation_config.eos_token_id = [token, *stops]


def _torch_dtype(name: str) -> Any:
    import torch

    return getattr(torch, name)
