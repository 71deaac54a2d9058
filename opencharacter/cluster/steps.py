"""What each step of a run calls, holds and asks for. Resolved once; planner, checks, placing and preflight read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from opencharacter.cluster.images import STEP_IMAGES, ImageName, step_image
from opencharacter.cluster.spec import STEPS, Cluster, Placement, SecretEnv, StepName
from opencharacter.config.run import RunConfig
from opencharacter.engines.engine_config import EngineConfig
from opencharacter.training.sft_config import SftConfig

_PROFILES: frozenset[StepName] = frozenset({"generate-profiles", "collect-profiles"})
_DIALOGUES: frozenset[StepName] = frozenset({"ingest", "generate-dialogues", "collect-dialogues"})
_SHARDED: tuple[StepName, ...] = ("generate-profiles", "generate-dialogues")


@dataclass(frozen=True)
class Step:
    """One step of a run, with everything that is known before it starts."""

    name: StepName
    image: str
    """Reference of the container image."""
    on_cluster: bool
    """Whether a cluster places it; if not, `placement` and `launcher` ask for nothing."""
    placement: Placement
    """What each pod that works asks for, the cluster's defaults included."""
    launcher: Placement
    """What the step's own pod asks for: the same, or little where it starts a TrainJob and watches it."""
    workers: int = 1
    """Pods that Kubeflow Pipelines starts side by side: one for each shard, or suite."""
    nodes: int = 1
    """Nodes that one worker trains on; more than one makes a TrainJob."""
    engines: Mapping[str, EngineConfig] = field(default_factory=dict)
    """Chat models that it calls, by their name under `engines`."""
    base_model: str | None = None
    """Base model that it reads, trains or measures."""
    dtype: Literal["bfloat16", "float32"] | None = None
    """Number format of the models that it trains or measures itself."""
    training: SftConfig | None = None
    """Settings of the training that it runs."""
    downloads: tuple[str, ...] = ()
    """Hub ids of models and data sets that it downloads."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Plain variables from the cluster file."""
    secrets: tuple[SecretEnv, ...] = ()
    """Secrets that give it variables."""

    @property
    def image_name(self) -> ImageName:
        """Short name of the image, such as `tools`."""
        return STEP_IMAGES[self.name]

    @property
    def served(self) -> dict[str, EngineConfig]:
        """The engines whose weights the step's own pods serve."""
        return {name: engine for name, engine in self.engines.items() if is_self_served(engine)}

    @property
    def pods(self) -> int:
        """Pods that work at the same time."""
        return self.workers * self.nodes

    @property
    def gpus(self) -> int:
        """GPUs of each pod that works."""
        return self.placement.gpus

    @property
    def gpu_resource(self) -> str:
        """The extended resource that counts GPUs."""
        return self.placement.accelerator.type if self.placement.accelerator else "nvidia.com/gpu"

    @property
    def processes(self) -> int:
        """Processes that train, over all nodes."""
        return self.training.processes if self.training else 1

    @property
    def processes_per_node(self) -> int:
        """Processes that train on each node."""
        return max(1, self.processes // self.nodes)

    @property
    def variables(self) -> set[str]:
        """Names of the variables that the cluster file gives it."""
        return set(self.env) | {variable for secret in self.secrets for variable in secret.keys.values()}


Steps = Mapping[StepName, Step]
"""The steps of a run by name, in the pipeline's order."""


def resolve_steps(config: RunConfig | None, cluster: Cluster | None) -> dict[StepName, Step]:
    """Resolve every step of a run on a cluster.

    Args:
        config: The run. Without one: every step as the cluster places it, with no engines and one worker.
        cluster: The cluster. Without one: the default images, and placements that ask for nothing.

    Returns:
        The steps that the run's pipeline holds, by name and in order.
    """
    return {name: _resolve(name, config, cluster) for name in STEPS if config is None or _is_part(name, config)}


def is_self_served(engine: EngineConfig) -> bool:
    """Whether the step that calls an engine serves its weights in its own pod."""
    return engine.base_url is None and engine.weights is not None


def _is_part(name: StepName, config: RunConfig) -> bool:
    inputs = config.inputs
    if name == "import-dataset":
        return inputs.dataset is not None
    if name == "import-characters":
        return inputs.characters is not None
    if name == "judge-dialogues":
        return config.quality is not None
    if name in _PROFILES:
        return bool(inputs.personas)
    return name not in _DIALOGUES or inputs.dataset is None


def _resolve(name: StepName, config: RunConfig | None, cluster: Cluster | None) -> Step:
    placement = cluster.placement(name) if cluster else Placement()
    engines = _engines(name, config) if config else {}
    base_model = config.sft.base_model if config and name in ("mix", "sft", "evaluate") else None
    return Step(
        name=name,
        image=cluster.images.reference(STEP_IMAGES[name]) if cluster else step_image(name),
        on_cluster=cluster is not None,
        placement=placement,
        launcher=cluster.pod(name) if cluster else Placement(),
        workers=_workers(name, config) if config else 1,
        nodes=placement.nodes or 1,
        engines=engines,
        base_model=base_model,
        dtype=_dtype(name, config) if config else None,
        training=config.sft if config and name == "sft" else None,
        downloads=_downloads(name, config, engines, base_model) if config else (),
        env=cluster.env if cluster else {},
        secrets=tuple(secret for secret in cluster.secrets if secret.serves(name)) if cluster else (),
    )


def _workers(name: StepName, config: RunConfig) -> int:
    if name == "evaluate":
        return len(config.evaluate.suites)
    return config.shards if name in _SHARDED else 1


def _engines(name: StepName, config: RunConfig) -> dict[str, EngineConfig]:
    called: set[str] = set()
    if name == "generate-profiles":
        called = {config.profiles.teacher}
    elif name == "generate-dialogues":
        called = {corpus.teacher for corpus in config.inputs.corpora}
    elif name == "judge-dialogues" and config.quality:
        called = {config.quality.engine}
    elif name == "evaluate":
        called = set(config.evaluate.judges)
    return {engine: config.engines[engine] for engine in sorted(called)}


def _dtype(name: StepName, config: RunConfig) -> Literal["bfloat16", "float32"] | None:
    if name == "sft":
        return config.sft.dtype
    return config.evaluate.dtype if name == "evaluate" else None


def _downloads(
    name: StepName, config: RunConfig, engines: Mapping[str, EngineConfig], base_model: str | None
) -> tuple[str, ...]:
    hub_ids = {engine.weights or "" for engine in engines.values() if is_self_served(engine)}
    if base_model:
        hub_ids.add(base_model)
    inputs = config.inputs
    uris: list[str] = []
    if name == "ingest":
        uris = [source.uri for source in inputs.personas] + [corpus.uri for corpus in inputs.corpora]
    elif name == "import-characters" and inputs.characters:
        uris = [inputs.characters.uri]
    elif name == "evaluate":
        uris = [choice.suite for choice in config.evaluate.choices]
    hub_ids |= {uri.removeprefix("hf://") for uri in uris if uri.startswith("hf://")}
    return tuple(sorted(hub_ids))
