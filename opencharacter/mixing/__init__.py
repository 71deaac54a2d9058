"""Mixing: dialogues cleaned, split by characters and sessions, and weighed into a training set."""

from opencharacter.mixing.mix import mix
from opencharacter.mixing.mix_config import GeneralSource, HeldOut, MixConfig

__all__ = ["GeneralSource", "HeldOut", "MixConfig", "mix"]
