"""What a stage runs on, for how long and at what price: throughput figures scaled by model size and GPU."""

import math
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.cluster.spec import Placement
from opencharacter.cluster.steps import Step
from opencharacter.engines.engine_config import EngineConfig
from opencharacter.planning.figures import Assumptions, Figures, Gpu, parameters_of
from opencharacter.planning.suite_workload import CallVolume
from opencharacter.planning.workload import MODELS_MEASURED, StageWorkload
from opencharacter.system.hardware import usable_cores

_SMALL = 1e9
"""Without a cluster, smaller models are assumed to be served on this machine's CPU."""
_CPU_REFERENCE = 135e6
_SIZES = (8e9, 70e9)
_REFERENCE_GPU = Gpu(memory_gib=80, bf16_tflops=989, memory_tb_per_s=3.35)
"""The H100, on which the throughput figures were measured, whatever a user's file says of it."""


class StepResources(BaseModel):
    """What a stage runs on."""

    model_config = ConfigDict(extra="forbid")

    image: str
    pods: int = Field(description="pods at the same time")
    gpus: int = Field(description="of one pod")
    gpu: str | None = Field(default=None, description="a key of the figures' `gpus`; none: no GPU")
    cores: float = Field(description="of one pod")
    queue: str | None = None
    spot: bool = False


def step_resources(step: Step, figures: Figures) -> StepResources:
    """What a step runs on: as the cluster says or, without one, as the run configuration asks for."""
    if not step.on_cluster:
        gpus = _gpus_asked_for(step, figures)
        return StepResources(
            image=step.image_name,
            pods=step.pods if gpus else 1,
            gpus=gpus,
            gpu=figures.default_gpu if gpus else None,
            cores=len(usable_cores()),
        )
    placement = step.placement
    return StepResources(
        image=step.image_name,
        pods=step.pods,
        gpus=step.gpus,
        gpu=(named_gpu(placement, figures) or figures.default_gpu) if step.gpus else None,
        cores=placement.planned_cores or 1,
        queue=placement.queue,
        spot=bool(placement.spot),
    )


def named_gpu(placement: Placement, figures: Figures) -> str | None:
    """The GPU that a placement's selector or affinity names, such as `NVIDIA-H100-80GB-HBM3`."""
    values = [*(placement.node_selector or {}).values()]
    values += [value for term in placement.affinity or [] for value in term.values]
    words = {word for value in values for word in value.upper().replace("_", "-").split("-")}
    return next((name for name in figures.gpus if name.upper() in words), None)


def _gpus_asked_for(step: Step, figures: Figures) -> int:
    if step.dtype:
        return step.processes if step.dtype == "bfloat16" else 0
    return _gpus_to_serve(step.served.values(), figures)


def _gpus_to_serve(engines: Iterable[EngineConfig], figures: Figures) -> int:
    large = [engine for engine in engines if parameters_of(figures, engine.weights, engine.model) >= _SMALL]
    return max((engine.tensor_parallel for engine in large), default=0)


def resources_here(engine: EngineConfig, figures: Figures) -> StepResources:
    """What an engine is served on without a cluster: this machine's cores or, for a large model, its GPUs."""
    gpus = _gpus_to_serve([engine], figures) if engine.base_url is None else 0
    gpu = figures.default_gpu if gpus else None
    return StepResources(image="", pods=1, gpus=gpus, gpu=gpu, cores=len(usable_cores()))


class TimeEstimator:
    """Estimates how long the stages of a run take."""

    def __init__(self, assumptions: Assumptions) -> None:
        self._figures = assumptions.figures
        self._assumed = assumptions

    def hours(self, workload: StageWorkload, step: Step, resources: StepResources) -> float:
        """Wall-clock hours of a stage; 0 for those that hold no model and call none."""
        seconds = sum(self._calls(step, name, volume, resources) for name, volume in workload.calls_by_engine.items())
        if step.base_model is None:
            return seconds / 3600
        student = parameters_of(self._figures, step.base_model)
        if workload.trained_tokens:
            seconds += workload.trained_tokens / self._training_rate(student, resources, processes=step.processes)
            seconds += self._start(student, resources)
        if workload.scored_tokens:
            rate = self._training_rate(student, resources, processes=1) * self._assumed("score_factor")
            seconds += workload.scored_tokens / rate
            seconds += MODELS_MEASURED * self._start(student, resources)
        if workload.own.calls:
            seconds += workload.own.tokens_out / self._serving_rate(student, resources)
            seconds += MODELS_MEASURED * self._start(student, resources)
        return seconds / 3600

    def _calls(self, step: Step, name: str, volume: CallVolume, resources: StepResources) -> float:
        """Seconds for the calls to one engine, spread over the stage's pods."""
        return self.call_seconds(step.engines[name], volume, resources, served=name in step.served)

    def call_seconds(
        self, engine: EngineConfig, volume: CallVolume, resources: StepResources, *, served: bool
    ) -> float:
        """Seconds for the calls to one engine, whose model is `served` here or behind an endpoint."""
        if not volume.calls:
            return 0.0
        if not served:
            return volume.tokens_out / (self._assumed("api_stream") * engine.concurrency * resources.pods)
        parameters = parameters_of(self._figures, engine.weights, engine.model)
        return volume.tokens_out / self._serving_rate(parameters, resources) + self._start(parameters, resources)

    def _serving_rate(self, parameters: float, resources: StepResources) -> float:
        """Output tokens a second of all pods together."""
        if resources.gpu is None:
            return self._assumed("serve_cpu") * resources.cores * resources.pods * _CPU_REFERENCE / parameters
        ratio = self._figures.gpus[resources.gpu].memory_tb_per_s / _REFERENCE_GPU.memory_tb_per_s
        return self._rate_of_size(parameters) * ratio * resources.gpus * resources.pods

    def _rate_of_size(self, parameters: float) -> float:
        """A power law through the two known sizes; smaller models count as the small one, larger ones by size."""
        small, large = self._assumed("serve_8b"), self._assumed("serve_70b")
        low, high = _SIZES
        if parameters <= low:
            return small
        if parameters >= high:
            return large * high / parameters
        return small * math.exp(math.log(large / small) * math.log(parameters / low) / math.log(high / low))

    def _training_rate(self, parameters: float, resources: StepResources, *, processes: int) -> float:
        """Tokens a second of all processes, of which one GPU holds one."""
        if resources.gpu is None:
            return self._assumed("train_cpu") * resources.cores * resources.pods * _CPU_REFERENCE / parameters
        ratio = self._figures.gpus[resources.gpu].bf16_tflops / _REFERENCE_GPU.bf16_tflops
        used = min(processes, resources.gpus * resources.pods)
        return self._assumed("train_8b") * _SIZES[0] / parameters * ratio * used

    def _start(self, parameters: float, resources: StepResources) -> float:
        """Seconds until a pod's GPUs work. On a CPU the rates include the start."""
        if resources.gpu is None:
            return 0.0
        return self._assumed("pod_start_s") + 2 * parameters / 1e9 / self._assumed("load_gb_per_s")


class CostEstimator:
    """Prices the stages, and records the prices that are missing."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self.unpriced: list[str] = []

    def cost(self, workload: StageWorkload, step: Step, resources: StepResources, gpu_hours: float) -> float | None:
        """What GPUs and APIs of a stage cost; none if a price is missing. CPUs are not priced."""
        parts = [self.gpu_cost(resources, gpu_hours)]
        parts += [
            self.api_cost(step.engines[name].model, volume)
            for name, volume in workload.calls_by_engine.items()
            if name not in step.served and volume.calls
        ]
        known_parts = [part for part in parts if part is not None]
        return sum(known_parts) if len(known_parts) == len(parts) else None

    def api_cost(self, model: str, volume: CallVolume) -> float | None:
        """What calls to a model behind an API cost; none if a price is missing."""
        known, key = self._figures.model(model), f"models.{model}"
        tokens_in = self._priced(volume.tokens_in / 1e6, known.input_per_million, f"{key}.input_per_million")
        tokens_out = self._priced(volume.tokens_out / 1e6, known.output_per_million, f"{key}.output_per_million")
        return None if tokens_in is None or tokens_out is None else tokens_in + tokens_out

    def gpu_cost(self, resources: StepResources, gpu_hours: float) -> float | None:
        """What GPU-hours cost; none if a price is missing."""
        return self._gpus(resources, gpu_hours) if resources.gpu and gpu_hours else 0.0

    def _gpus(self, resources: StepResources, gpu_hours: float) -> float | None:
        price = self._figures.gpus[resources.gpu or ""].price_per_hour
        cost = self._priced(gpu_hours, price, f"gpus.{resources.gpu}.price_per_hour")
        factor = self._priced(1, self._figures.spot_factor, "spot_factor") if resources.spot else 1
        return None if cost is None or factor is None else cost * factor

    def _priced(self, amount: float, price: float | None, key: str) -> float | None:
        if price is None and key not in self.unpriced:
            self.unpriced.append(key)
        return None if price is None else amount * price
