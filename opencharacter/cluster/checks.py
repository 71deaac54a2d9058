"""Checks a run against a cluster: `plan` reports the problems, `compile` rejects the fatal ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from opencharacter.cluster.quantities import byte_count
from opencharacter.cluster.spec import Cluster, StepName
from opencharacter.cluster.steps import Step, Steps
from opencharacter.config.run import RunConfig
from opencharacter.engines.vllm_server import SHARED_MEMORY
from opencharacter.errors import UserError
from opencharacter.serving.deploy_config import DeployConfig
from opencharacter.serving.names import too_long

_GATED = ("meta-llama/", "google/gemma", "GAIR/lima")
"""Prefixes of hub ids whose owners ask for an agreement, so that a download needs a token."""

_NEEDS_REGISTRY: tuple[StepName, ...] = ("get-champion", "register", "gate", "promote")

State = Literal["ok", "warning", "unknown", "missing", "differs", "fatal"]


@dataclass(frozen=True)
class Issue:
    """The outcome of one check of a run, a cluster file or the cluster itself."""

    subject: str
    """A key of the cluster file, `run: KEY` of the run configuration, or an object such as `Secret NAME`."""
    state: State
    """`warning`: it works, but slowly, later or not as expected; `unknown`: it cannot be checked from here;
    `missing`: it does not exist; `differs`: it exists, but the run cannot use it; `fatal`: the run cannot work."""
    message: str
    hint: str | None = None
    step: StepName | None = None
    """None: all steps."""

    @property
    def fatal(self) -> bool:
        """Whether a run must not start."""
        return self.state in ("missing", "differs", "fatal")


def check_compatibility(config: RunConfig, cluster: Cluster, steps: Steps) -> list[Issue]:
    """Find what the two files alone show. Fatal issues come first; sizes of models and data are checked elsewhere."""
    issues = [*_training(steps["sft"]), *_evaluation(steps["evaluate"])]
    for step in steps.values():
        issues += [*_accelerators(step), *_shared_memory(step)]
    issues += [*_local_files(config), *_interruptions(steps), *_variables(steps)]
    return fatal_first([*issues, *_service_name(config.deploy, cluster)])


def fatal_first(issues: Iterable[Issue]) -> list[Issue]:
    """The issues, those that keep a run from starting first."""
    return sorted(issues, key=lambda issue: not issue.fatal)


def require_compatible(run: str, cluster: str, issues: Iterable[Issue]) -> None:
    """Raise a `UserError` that names each key if an issue is fatal."""
    fatal = [issue for issue in issues if issue.fatal]
    if fatal:
        lines = [f"{issue.subject}: {f'step {issue.step}: ' if issue.step else ''}{issue.message}" for issue in fatal]
        raise UserError(
            f"the run '{run}' does not fit the cluster '{cluster}':\n" + "\n".join(lines),
            hint="change the cluster file (--cluster-set KEY=VALUE) or, after 'run:', the run (--set KEY=VALUE)",
        )


def _training(step: Step) -> Iterator[Issue]:
    gpus, cores = step.gpus * step.nodes, step.placement.planned_cores
    key = "steps.sft.accelerator.count"
    if step.processes % step.nodes:
        yield Issue(
            step="sft",
            subject="run: sft.processes",
            state="fatal",
            message=f"{step.processes} training processes cannot be spread evenly over {step.nodes} nodes"
            " (steps.sft.nodes)",
        )
    elif gpus == 0 and cores and step.processes > cores * step.nodes:
        yield Issue(
            step="sft",
            subject="run: sft.processes",
            state="fatal",
            message=f"{step.processes} training processes on no GPU and {cores * step.nodes:g} core(s) (steps.sft.cpu)",
        )
    elif gpus == 0 and step.dtype == "bfloat16":
        message = "no GPU: training would run on the CPU, in float32"
        yield Issue(step="sft", subject=key, state="warning", message=message)
    elif 0 < gpus < step.processes:
        yield Issue(
            step="sft",
            subject=key,
            state="fatal",
            message=f"{step.processes} training processes (run: sft.processes) need as many GPUs; the cluster gives"
            f" {gpus}",
        )
    elif gpus > step.processes:
        yield Issue(
            step="sft",
            subject="run: sft.processes",
            # A TrainJob starts a process for each of its GPUs.
            state="fatal" if step.nodes > 1 else "warning",
            message=f"the cluster gives {gpus} GPUs, of which {step.processes} would be used",
        )
    if step.nodes > 1 and step.placement.queue is None:
        yield Issue(
            step="sft",
            subject="steps.sft.queue",
            state="warning",
            message=f"no queue: {step.nodes} nodes are not admitted together, and two runs may wait for each other",
        )


def _evaluation(step: Step) -> Iterator[Issue]:
    if step.dtype == "bfloat16" and step.gpus == 0:
        message = "no GPU: the models would be measured on the CPU, in float32"
        yield Issue(step="evaluate", subject="steps.evaluate.accelerator.count", state="warning", message=message)


def _service_name(deploy: DeployConfig, cluster: Cluster) -> Iterator[Issue]:
    """With a namespace of its own, `deploy` has been checked already."""
    elsewhere = not deploy.apply or deploy.namespace is not None
    if not elsewhere and (problem := too_long(deploy.service_name, cluster.namespace)):
        yield Issue(step="deploy", subject="run: deploy.service_name", state="fatal", message=problem)


def _accelerators(step: Step) -> Iterator[Issue]:
    plural = "s" * (step.gpus > 1)
    # The pod of evaluate measures models of its own.
    if step.gpus and step.engines and not step.served and step.name != "evaluate":
        yield Issue(
            step=step.name,
            subject=f"steps.{step.name}.accelerator",
            state="warning",
            message=f"its models are called over the network, so the {step.gpus} GPU{plural} of each pod stay idle;"
            " null removes them",
        )
    for name, engine in step.served.items():
        if step.gpus == 0 and engine.tensor_parallel == 1:
            yield Issue(
                step=step.name,
                subject=f"steps.{step.name}.accelerator.count",
                state="warning",
                message=f"no GPU: {engine.weights} would be served on the CPU",
            )
        elif step.gpus == 0 or step.gpus % engine.tensor_parallel:
            yield Issue(
                step=step.name,
                subject=f"steps.{step.name}.accelerator.count",
                state="fatal",
                message=f"{step.gpus or 'no'} GPU{plural} in the pod, but a copy of {engine.weights} takes"
                f" {engine.tensor_parallel} (run: engines.{name}.tensor_parallel); expected a multiple of that",
            )


def _shared_memory(step: Step) -> Iterator[Issue]:
    shm = step.placement.shm
    # Without a GPU, evaluate runs vLLM for the models that it measures.
    serves_on_cpu = step.name == "evaluate" or any(engine.tensor_parallel == 1 for engine in step.served.values())
    if step.gpus > 1 and shm is None:
        yield Issue(
            step=step.name,
            subject=f"steps.{step.name}.shm",
            state="warning",
            message=f"{step.gpus} GPUs communicate through /dev/shm, of which a container has 64 MiB",
        )
    elif step.gpus == 0 and serves_on_cpu and (not shm or byte_count(shm) < SHARED_MEMORY):
        yield Issue(
            step=step.name,
            subject=f"steps.{step.name}.shm",
            state="warning",
            message=f"vLLM on a CPU needs {SHARED_MEMORY >> 20} MiB of /dev/shm;"
            f" {f'{shm} are asked for' if shm else 'a container has 64 MiB'}. 1Gi is plenty",
        )


def _local_files(config: RunConfig) -> Iterator[Issue]:
    """What is on this machine, where no pod sees it."""
    inputs = config.inputs
    named = {f"inputs.personas.{i}.uri": source.uri for i, source in enumerate(inputs.personas)}
    named |= {f"inputs.corpora.{i}.uri": corpus.uri for i, corpus in enumerate(inputs.corpora)}
    named |= {f"mix.general.{i}.uri": source.uri for i, source in enumerate(config.mix.general)}
    named |= {f"mix.frozen_suites.{i}": suite for i, suite in enumerate(config.mix.frozen_suites)}
    if inputs.characters:
        named["inputs.characters.uri"] = inputs.characters.uri
    if inputs.dataset:
        named |= {f"inputs.dataset.{key}": getattr(inputs.dataset, key) for key in ("characters", "dialogues")}
    named |= {"sft.base_model": config.sft.base_model}
    named |= {f"engines.{name}.weights": engine.weights or "" for name, engine in config.engines.items()}
    named |= {f"evaluate.suites.{i}": choice.suite for i, choice in enumerate(config.evaluate.choices)}
    named |= {f"gate.labels.{i}": uri for i, uri in enumerate(config.gate.labels)}
    for key, uri in named.items():
        is_model = key.endswith((".base_model", ".weights"))
        has_names = is_model or key.startswith("evaluate.suites.")
        if uri.startswith(("/", "./", "../", "~", "file://")) or ("://" not in uri and not has_names):
            message = f"{uri} is on this machine; expected what a pod reaches: s3://, hf:// or, for models, a hub id"
            yield Issue(subject=f"run: {key}", state="fatal", message=message)
        elif is_model and uri.startswith("package:"):
            message = f"{uri} is in none of our images; name a hub id or an s3:// prefix, or build images that hold it"
            yield Issue(subject=f"run: {key}", state="warning", message=message)


def _interruptions(steps: Steps) -> Iterator[Issue]:
    for step in steps.values():
        retries = step.placement.retries
        if step.placement.spot and (retries is None or retries.count == 0):
            yield Issue(
                step=step.name,
                subject=f"steps.{step.name}.retries.count",
                state="warning",
                message="spot without retries: one preemption ends the run",
            )


def _variables(steps: Steps) -> Iterator[Issue]:
    for step in steps.values():
        for name, engine in step.engines.items():
            if engine.api_key_env and engine.api_key_env not in step.variables:
                yield Issue(
                    step=step.name,
                    subject="secrets",
                    state="fatal",
                    message=f"no Secret gives the step {engine.api_key_env} (run: engines.{name}.api_key_env)",
                )
        if step.name in _NEEDS_REGISTRY and "MLFLOW_TRACKING_URI" not in step.variables:
            message = "no address of the model registry"
            yield Issue(step=step.name, subject="env.MLFLOW_TRACKING_URI", state="fatal", message=message)
        gated = [hub_id for hub_id in step.downloads if hub_id.startswith(_GATED)]
        if gated and "HF_TOKEN" not in step.variables:
            yield Issue(
                step=step.name,
                subject="secrets",
                state="warning",
                message=f"no Secret gives the step HF_TOKEN, which the hub asks for: {', '.join(gated)} is gated",
            )
    if not any("AWS_ACCESS_KEY_ID" in step.variables for step in steps.values()):
        yield Issue(
            subject="secrets",
            state="warning",
            message="no Secret gives AWS_ACCESS_KEY_ID: an s3:// workspace needs it, or a role of the pods' account",
        )
