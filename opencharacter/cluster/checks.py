"""What a cluster lacks for a run: told by `plan`, refused by `compile` where a step would be sure to fail."""

from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.cluster.quantities import byte_count
from opencharacter.cluster.spec import STEPS, Cluster, StepName
from opencharacter.config.run import RunConfig
from opencharacter.engines import EngineConfig
from opencharacter.engines.vllm_server import SHARED_MEMORY
from opencharacter.errors import UserError
from opencharacter.serving.names import too_long

_GATED = ("meta-llama/", "google/gemma", "GAIR/lima")
"""Beginnings of hub ids whose owners ask for an agreement first, so that a download needs a token."""

_SYNTHESIS: frozenset[StepName] = frozenset(
    {"ingest", "generate-profiles", "collect-profiles", "generate-dialogues", "collect-dialogues"}
)
_NEEDS_REGISTRY: tuple[StepName, ...] = ("get-champion", "register", "promote")


class Lack(BaseModel):
    """One thing that the cluster does not offer, and the key that would."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: StepName | None = Field(default=None, description="none: all steps")
    key: str = Field(description="where to set it, in the cluster file or (run: KEY) in the run configuration")
    message: str
    impossible: bool = Field(default=False, description="the run cannot work like this; compile refuses it")


def steps_of(config: RunConfig) -> list[StepName]:
    """The steps that the run's pipeline holds, in order."""
    absent = _SYNTHESIS if config.inputs.release else {"import-dataset"}
    return [step for step in STEPS if step not in absent]


def engines_of(config: RunConfig, step: StepName) -> dict[str, EngineConfig]:
    """The chat models that a step calls, by their name under `engines`."""
    names: set[str] = set()
    if step == "generate-profiles" and not config.inputs.release:
        names = {config.profiles.teacher}
    elif step == "generate-dialogues":
        names = {corpus.teacher for corpus in config.inputs.corpora}
    elif step == "evaluate" and config.evaluate.judge:
        names = {config.evaluate.judge.engine}
    return {name: config.engines[name] for name in sorted(names)}


def serves_itself(engine: EngineConfig) -> bool:
    """Whether the step's own pod serves the model's weights."""
    return engine.base_url is None and engine.weights is not None


def _serves_on_cpu(config: RunConfig, step: StepName) -> bool:
    """Whether the step's pod, without a GPU, runs vLLM: for an engine's weights, or for the models that it measures."""
    engines = engines_of(config, step).values()
    return step == "evaluate" or any(serves_itself(engine) and engine.tensor_parallel == 1 for engine in engines)


def gpus_of(cluster: Cluster, step: StepName) -> int:
    """GPUs of one pod of a step."""
    accelerator = cluster.placement(step).accelerator
    return accelerator.count if accelerator else 0


def find_lacks(config: RunConfig, cluster: Cluster) -> list[Lack]:
    """What can be told from the two files alone; sizes of models and data are looked at elsewhere."""
    lacks = [*_training(config, cluster), *_accelerators(config, cluster), *_local_files(config)]
    lacks += [*_interruptions(config, cluster), *_secrets(config, cluster), *_service_name(config, cluster)]
    return sorted(lacks, key=lambda lack: not lack.impossible)


def refuse_misfit(config: RunConfig, cluster: Cluster, lacks: Iterable[Lack]) -> None:
    """Raise a `UserError` that names each key, if one of the lacks makes the run impossible on that cluster."""
    impossible = [lack for lack in lacks if lack.impossible]
    if impossible:
        lines = [f"{lack.key}: {f'step {lack.step}: ' if lack.step else ''}{lack.message}" for lack in impossible]
        raise UserError(
            f"the run '{config.name}' does not fit the cluster '{cluster.name}':\n" + "\n".join(lines),
            hint="change the cluster file (--profile-set KEY=VALUE) or, after 'run:', the run (--set KEY=VALUE)",
        )


def _training(config: RunConfig, cluster: Cluster) -> Iterator[Lack]:
    nodes = cluster.placement("sft").nodes or 1
    gpus, processes = gpus_of(cluster, "sft") * nodes, config.sft.processes
    key = "steps.sft.accelerator.count"
    planned = cluster.placement("sft").planned_cores
    if gpus == 0 and planned and processes > planned * nodes:
        yield Lack(
            step="sft",
            key="run: sft.processes",
            message=f"{processes} training processes on no GPU and {planned * nodes:g} core(s) (steps.sft.cpu)",
            impossible=True,
        )
    elif gpus == 0 and config.sft.dtype == "bfloat16":
        yield Lack(step="sft", key=key, message="no GPU: training would run on the CPU, in float32")
    elif 0 < gpus < processes:
        yield Lack(
            step="sft",
            key=key,
            message=f"{processes} training processes (run: sft.processes) need as many GPUs; the cluster gives {gpus}",
            impossible=True,
        )
    elif gpus > processes:
        yield Lack(
            step="sft",
            key="run: sft.processes",
            message=f"the cluster gives {gpus} GPUs, of which {processes} would be used",
            impossible=nodes > 1,  # a TrainJob starts a process for each of its GPUs
        )
    if config.evaluate.dtype == "bfloat16" and gpus_of(cluster, "evaluate") == 0:
        message = "no GPU: the models would be measured on the CPU, in float32"
        yield Lack(step="evaluate", key="steps.evaluate.accelerator.count", message=message)
    if nodes > 1 and cluster.placement("sft").queue is None:
        yield Lack(
            step="sft",
            key="steps.sft.queue",
            message=f"no queue: {nodes} nodes are not admitted together, and two runs may wait for each other",
        )


def _service_name(config: RunConfig, cluster: Cluster) -> Iterator[Lack]:
    """With a namespace of its own, `deploy` has been checked already."""
    deploy = config.deploy
    elsewhere = not deploy.apply or deploy.namespace is not None
    if not elsewhere and (problem := too_long(deploy.service_name, cluster.namespace)):
        yield Lack(step="deploy", key="run: deploy.service_name", message=problem, impossible=True)


def _accelerators(config: RunConfig, cluster: Cluster) -> Iterator[Lack]:
    for step in steps_of(config):
        gpus = gpus_of(cluster, step)
        # The pod of evaluate measures models of its own.
        asked = engines_of(config, step).values() if step != "evaluate" else ()
        if gpus and asked and not any(map(serves_itself, asked)):
            yield Lack(
                step=step,
                key=f"steps.{step}.accelerator",
                message=f"its models are asked over the network, so the {gpus} GPU{'s' * (gpus > 1)} of each pod stand"
                " idle; null takes them back",
            )
        for name, engine in engines_of(config, step).items():
            if not serves_itself(engine):
                continue
            if gpus == 0 and engine.tensor_parallel == 1:
                yield Lack(
                    step=step,
                    key=f"steps.{step}.accelerator.count",
                    message=f"no GPU: {engine.weights} would be served on the CPU",
                )
            elif gpus == 0 or gpus % engine.tensor_parallel:
                yield Lack(
                    step=step,
                    key=f"steps.{step}.accelerator.count",
                    message=f"{gpus or 'no'} GPU{'s' * (gpus > 1)} in the pod, but a copy of {engine.weights} takes"
                    f" {engine.tensor_parallel} (run: engines.{name}.tensor_parallel); expected a multiple of that",
                    impossible=True,
                )
        shm = cluster.placement(step).shm
        if gpus > 1 and shm is None:
            yield Lack(
                step=step,
                key=f"steps.{step}.shm",
                message=f"{gpus} GPUs talk through /dev/shm, which a container has 64 MiB of",
            )
        elif gpus == 0 and _serves_on_cpu(config, step) and (not shm or byte_count(shm) < SHARED_MEMORY):
            yield Lack(
                step=step,
                key=f"steps.{step}.shm",
                message=f"vLLM on a CPU needs {SHARED_MEMORY >> 20} MiB of /dev/shm;"
                f" {f'{shm} are asked for' if shm else 'a container has 64 MiB'}. 1Gi is plenty",
            )


def _local_files(config: RunConfig) -> Iterator[Lack]:
    """What lies on this machine: no pod sees it."""
    inputs = config.inputs
    named = {f"inputs.personas.{i}.uri": source.uri for i, source in enumerate(inputs.personas)}
    named |= {f"inputs.corpora.{i}.uri": corpus.uri for i, corpus in enumerate(inputs.corpora)}
    named |= {f"mix.general.{i}.uri": source.uri for i, source in enumerate(config.mix.general)}
    if inputs.release:
        named |= {f"inputs.release.{key}": getattr(inputs.release, key) for key in ("characters", "dialogues")}
    named |= {"sft.base_model": config.sft.base_model}
    named |= {f"engines.{name}.weights": engine.weights or "" for name, engine in config.engines.items()}
    for key, uri in named.items():
        is_model = key.endswith((".base_model", ".weights"))
        if uri.startswith(("/", "./", "../", "~", "file://")) or ("://" not in uri and not is_model):
            message = f"{uri} is on this machine; expected what a pod reaches: s3://, hf:// or, for models, a hub id"
            yield Lack(key=f"run: {key}", message=message, impossible=True)
        elif is_model and uri.startswith("package:"):
            message = f"{uri} is in none of our images; name a hub id or an s3:// prefix, or build images that hold it"
            yield Lack(key=f"run: {key}", message=message)


def _interruptions(config: RunConfig, cluster: Cluster) -> Iterator[Lack]:
    spot = [step for step in steps_of(config) if cluster.placement(step).spot]
    for step in spot:
        retries = cluster.placement(step).retries
        if retries is None or retries.count == 0:
            yield Lack(
                step=step,
                key=f"steps.{step}.retries.count",
                message="spot without retries: one preemption ends the run",
            )


def _secrets(config: RunConfig, cluster: Cluster) -> Iterator[Lack]:
    for step in steps_of(config):
        for name, engine in engines_of(config, step).items():
            variable = engine.api_key_env
            if variable and not _has_variable(cluster, step, variable):
                yield Lack(
                    step=step,
                    key="secrets",
                    message=f"no Secret gives the step {variable} (run: engines.{name}.api_key_env)",
                    impossible=True,
                )
        if step in _NEEDS_REGISTRY and not _has_variable(cluster, step, "MLFLOW_TRACKING_URI"):
            yield Lack(
                step=step, key="env.MLFLOW_TRACKING_URI", message="no address of the model registry", impossible=True
            )
        gated = [ref for ref in _hub_refs(config, step) if ref.startswith(_GATED)]
        if gated and not _has_variable(cluster, step, "HF_TOKEN"):
            yield Lack(
                step=step,
                key="secrets",
                message=f"no Secret gives the step HF_TOKEN, which the hub asks for: {', '.join(gated)} is gated",
            )
    if not any(_has_variable(cluster, step, "AWS_ACCESS_KEY_ID") for step in STEPS):
        yield Lack(
            key="secrets",
            message="no Secret gives AWS_ACCESS_KEY_ID: an s3:// workspace needs it, or a role of the pods' account",
        )


def _has_variable(cluster: Cluster, step: StepName, variable: str) -> bool:
    if variable in cluster.env:
        return True
    given = [secret for secret in cluster.secrets if secret.steps is None or step in secret.steps]
    return any(variable in secret.keys.values() for secret in given)


def _hub_refs(config: RunConfig, step: StepName) -> list[str]:
    """Hub ids of what a step downloads."""
    refs = {engine.weights or "" for engine in engines_of(config, step).values() if serves_itself(engine)}
    if step in ("mix", "sft", "evaluate"):
        refs.add(config.sft.base_model)
    if step == "ingest":
        uris = [source.uri for source in config.inputs.personas] + [corpus.uri for corpus in config.inputs.corpora]
        refs |= {uri.removeprefix("hf://") for uri in uris if uri.startswith("hf://")}
    return sorted(refs)
