"""Where a stage runs and for how long: throughput figures scaled by model size and GPU."""

import math

from opencharacter.cluster.checks import engines_of, serves_itself
from opencharacter.cluster.images import STEP_IMAGES
from opencharacter.cluster.spec import Cluster, Placement, StepName
from opencharacter.config.run import RunConfig
from opencharacter.engines.engine_config import EngineConfig
from opencharacter.planning.figures import Figures, Gpu, Ledger
from opencharacter.planning.learning import MODELS_MEASURED
from opencharacter.planning.result import Where
from opencharacter.planning.sizes import parameters_of
from opencharacter.planning.work import Load, Work
from opencharacter.system.hardware import usable_cores

_SMALL = 1e9
"""Without a cluster, smaller models are taken to be served on this machine's CPU."""
_CPU_REFERENCE = 135e6
_SIZES = (8e9, 70e9)
_REFERENCE_GPU = Gpu(memory_gib=80, bf16_tflops=989, memory_tb_per_s=3.35)
"""The H100, which the throughput figures are of, whatever a user's file says of it."""


class Clock:
    """Tells where the stages of a run are and how long they take."""

    def __init__(self, config: RunConfig, cluster: Cluster | None, ledger: Ledger) -> None:
        self._config = config
        self._cluster = cluster
        self._figures = ledger.figures
        self._assumed = ledger

    def where(self, step: StepName) -> Where:
        """What a step runs on: as the cluster says, or as the run configuration asks for."""
        image = STEP_IMAGES[step]
        if self._cluster is None:
            gpus = self._gpus_asked_for(step)
            return Where(
                image=image,
                pods=self._pods(step) if gpus else 1,
                gpus=gpus,
                gpu=self._figures.default_gpu if gpus else None,
                cores=len(usable_cores()),
            )
        placement = self._cluster.placement(step)
        gpus = placement.accelerator.count if placement.accelerator else 0
        return Where(
            image=image,
            pods=self._pods(step),
            gpus=gpus,
            gpu=gpu_named(placement, self._figures) or self._figures.default_gpu if gpus else None,
            cores=placement.planned_cores or 1,
            queue=placement.queue,
            spot=bool(placement.spot),
        )

    def hours(self, work: Work, where: Where) -> float:
        """Wall-clock hours of a stage; 0 for those that hold no model and ask none."""
        seconds = sum(self._asking(self._config.engines[name], load, where) for name, load in work.loads.items())
        student = parameters_of(self._figures, self._config.sft.base_model)
        if work.trained_tokens:
            seconds += work.trained_tokens / self._training_rate(student, where, workers=self._config.sft.processes)
            seconds += self._start(student, where)
        if work.scored_tokens:
            rate = self._training_rate(student, where, workers=1) * self._assumed("score_factor")
            seconds += work.scored_tokens / rate
            seconds += MODELS_MEASURED * self._start(student, where)
        if work.own.calls:
            seconds += work.own.tokens_out / self._serving_rate(student, where)
            seconds += MODELS_MEASURED * self._start(student, where)
        return seconds / 3600

    def _pods(self, step: StepName) -> int:
        if step in ("generate-profiles", "generate-dialogues"):
            return self._config.shards
        return (self._cluster.placement("sft").nodes or 1) if step == "sft" and self._cluster else 1

    def _gpus_asked_for(self, step: StepName) -> int:
        if step == "sft":
            return self._config.sft.processes if self._config.sft.dtype == "bfloat16" else 0
        if step == "evaluate":
            return int(self._config.evaluate.dtype == "bfloat16")
        served = [engine for engine in engines_of(self._config, step).values() if serves_itself(engine)]
        large = [one for one in served if parameters_of(self._figures, one.weights, one.model) >= _SMALL]
        return max((engine.tensor_parallel for engine in large), default=0)

    def _asking(self, engine: EngineConfig, load: Load, where: Where) -> float:
        """Seconds for the calls to one engine, spread over the stage's pods."""
        if not load.calls:
            return 0.0
        if not serves_itself(engine):
            return load.tokens_out / (self._assumed("api_stream") * engine.concurrency * where.pods)
        parameters = parameters_of(self._figures, engine.weights, engine.model)
        return load.tokens_out / self._serving_rate(parameters, where) + self._start(parameters, where)

    def _serving_rate(self, parameters: float, where: Where) -> float:
        """Output tokens a second of all pods together."""
        if where.gpu is None:
            return self._assumed("serve_cpu") * where.cores * where.pods * _CPU_REFERENCE / parameters
        ratio = self._figures.gpus[where.gpu].memory_tb_per_s / _REFERENCE_GPU.memory_tb_per_s
        return self._of_size(parameters) * ratio * where.gpus * where.pods

    def _of_size(self, parameters: float) -> float:
        """A power law through the two known sizes; smaller models count as the small one, larger ones by size."""
        small, large = self._assumed("serve_8b"), self._assumed("serve_70b")
        low, high = _SIZES
        if parameters <= low:
            return small
        if parameters >= high:
            return large * high / parameters
        return small * math.exp(math.log(large / small) * math.log(parameters / low) / math.log(high / low))

    def _training_rate(self, parameters: float, where: Where, *, workers: int) -> float:
        """Tokens a second of `workers` processes, at most one for each GPU."""
        if where.gpu is None:
            return self._assumed("train_cpu") * where.cores * where.pods * _CPU_REFERENCE / parameters
        ratio = self._figures.gpus[where.gpu].bf16_tflops / _REFERENCE_GPU.bf16_tflops
        used = min(workers, where.gpus * where.pods)
        return self._assumed("train_8b") * _SIZES[0] / parameters * ratio * used

    def _start(self, parameters: float, where: Where) -> float:
        """Seconds until a pod's GPUs work. On a CPU the rates hold the start."""
        if where.gpu is None:
            return 0.0
        return self._assumed("pod_start_s") + 2 * parameters / 1e9 / self._assumed("load_gb_per_s")


def gpu_named(placement: Placement, figures: Figures) -> str | None:
    """The GPU that a placement's selector or affinity names, such as `NVIDIA-H100-80GB-HBM3`."""
    values = [*(placement.node_selector or {}).values()]
    values += [value for term in placement.affinity or [] for value in term.values]
    words = {word for value in values for word in value.upper().replace("_", "-").split("-")}
    return next((name for name in figures.gpus if name.upper() in words), None)
