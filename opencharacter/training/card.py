"""The model card, in the Hugging Face hub's format, written from what is known and nothing else."""

import re
from typing import Any

import yaml

from opencharacter.records.training import Lineage, LossPoint
from opencharacter.training.job import Result
from opencharacter.training.sft_config import SftConfig

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def model_card(lineage: Lineage, config: SftConfig, result: Result) -> str:
    """Markdown with the hub's YAML header."""
    header: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if _HUB_ID.fullmatch(lineage.base_model):
        header["base_model"] = lineage.base_model
    header["tags"] = ["opencharacter", "role-play", "trl", "sft"]
    method = f"LoRA (rank {config.lora.rank}, alpha {config.lora.alpha}), merged" if config.lora else "full fine-tuning"
    spread = f"{result.world_size} process(es)" + (f", ZeRO-{config.deepspeed_stage}" if config.deepspeed_stage else "")
    hyperparameters = config.model_dump(exclude={"base_model", "lora"}, exclude_none=True)
    return "\n".join(
        [
            "---",
            yaml.safe_dump(header, sort_keys=False).rstrip(),
            "---",
            "# Role-play model",
            "",
            f"`{lineage.base_model}` fine-tuned to play any character from its profile, which is given as the system"
            f" message. The message's template is the system prompt `{lineage.system_prompt}`, kept as"
            f" `opencharacter/system.md` in the model folder (hash `{lineage.prompt_hash}`)."
            " Loss on the response tokens only.",
            "",
            "## Data",
            "",
            f"Mixture `{lineage.mixture_digest}`: {result.rows.rows} rows an epoch, {result.rows.tokens} tokens,"
            f" {result.rows.response_tokens} of them response tokens; {result.rows.cut} rows were cut at"
            f" {config.max_length} tokens, {result.rows.without_response} left out because no response was left,"
            f" {result.rows.forged} because a text holds marks of the chat template.",
            "",
            "## Licences",
            "",
            f"The base model's own licence applies. {_licence_sentence(lineage.licences)}",
            "",
            "## Training",
            "",
            f"{method}, {spread}, weights saved in {result.dtype}, seed {lineage.seed}, {result.steps} optimizer steps,"
            f" {result.tokens_per_s:.0f} tokens/s. Made by opencharacter {lineage.library}.",
            "",
            "| setting | value |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in hyperparameters.items()),
            "",
            "| step | training loss |",
            "|---|---|",
            *(f"| {point.step} | {point.loss:.4f} |" for point in _ends(result)),
            "",
        ]
    )


def _licence_sentence(licences: dict[str, int]) -> str:
    if not licences:
        return "The mixture names no licences."
    return f"The training data came under: {', '.join(f'{name} ({rows} rows)' for name, rows in licences.items())}."


def _ends(result: Result) -> list[LossPoint]:
    return result.losses[:1] + result.losses[1:][-1:]
