"""Which image each step runs in. The one place that knows image names; registry and tag are settings."""

from typing import Literal

from opencharacter import __version__

ImageName = Literal["synthesis", "training", "tools"]


def image_reference(name: ImageName, *, registry: str = "opencharacter", tag: str = __version__) -> str:
    """The image of a step, such as `opencharacter/synthesis:0.1.0`."""
    return f"{registry}/{name}:{tag}"
