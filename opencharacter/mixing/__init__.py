"""Mixing: dialogues cleaned, split by characters and sessions, and weighed into a training set."""

from opencharacter.mixing.config import GeneralSource, HeldOut, MixConfig
from opencharacter.mixing.mix import mix

__all__ = ["GeneralSource", "HeldOut", "MixConfig", "mix"]
