"""Which image each step runs in: the one place that knows. Registry, tag and digest are the cluster's."""

from typing import Literal, get_args

from opencharacter import __version__

ImageName = Literal["synthesis", "training", "tools", "serving", "lm-eval"]

StepName = Literal[
    "ingest",
    "import-dataset",
    "import-characters",
    "generate-profiles",
    "collect-profiles",
    "generate-dialogues",
    "collect-dialogues",
    "judge-dialogues",
    "mix",
    "sft",
    "get-champion",
    "evaluate",
    "register",
    "gate",
    "report",
    "promote",
    "deploy",
]
"""The steps of the pipeline, each a folder of `components/`."""

STEPS: tuple[StepName, ...] = get_args(StepName)

STEP_IMAGES: dict[StepName, ImageName] = {
    "ingest": "synthesis",
    "import-dataset": "synthesis",
    "import-characters": "synthesis",
    "generate-profiles": "synthesis",
    "collect-profiles": "synthesis",
    "generate-dialogues": "synthesis",
    "collect-dialogues": "synthesis",
    "judge-dialogues": "synthesis",
    "mix": "tools",
    "sft": "training",
    "get-champion": "tools",
    "evaluate": "synthesis",  # it asks the models that it measures for answers, which takes vLLM
    "register": "tools",
    "gate": "tools",
    "report": "tools",
    "promote": "tools",
    "deploy": "tools",
}


def image_reference(
    name: ImageName, *, registry: str = "opencharacter", tag: str = __version__, digest: str | None = None
) -> str:
    """A container image, such as `opencharacter/synthesis:0.1.0`; a digest goes before the tag."""
    return f"{registry}/{name}@{digest}" if digest else f"{registry}/{name}:{tag}"


def step_image(step: StepName) -> str:
    """The image of a step where no cluster says otherwise."""
    return image_reference(STEP_IMAGES[step])
