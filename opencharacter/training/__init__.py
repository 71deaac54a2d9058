"""Supervised fine-tuning of a base model on a mixture."""

from opencharacter.training.config import LoraSettings, SftConfig
from opencharacter.training.sft import train

__all__ = ["LoraSettings", "SftConfig", "train"]
