"""The TrainJob object (trainer.kubeflow.org/v1alpha1): a pure function of the settings.

Its fields are those of Kubeflow Trainer 2.2, also where a newer one is installed: Kueue reads and writes TrainJobs with
the types of 2.2, which drops later fields, and JobSet then refuses the changed pods.
"""

from typing import Any

from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.system.cache import CACHE_VARIABLE
from opencharacter.system.hardware import GPUS_VARIABLE
from opencharacter.templates import OVERRIDE_VARIABLE
from opencharacter.tracking import RUN_VARIABLE
from opencharacter.training.job import NodeArguments
from opencharacter.training.sft_config import SftConfig
from opencharacter.training.trainjob.settings import SecretVariable, TrainJobSettings

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
OLDEST_TRAINER = "2.2"
"""The first release of Kubeflow Trainer with `runtimePatches`."""
NODE = "node"
"""Name of the replicated job and of its container in Trainer's runtimes."""
SPEC_ANNOTATION = "opencharacter.io/spec"
"""Digest of the spec as it was asked for: Trainer and Kueue write into the spec itself."""

WORK_FOLDER = "/var/opencharacter"
_PROMPTS_FOLDER = "/etc/opencharacter/prompts"


def job_name(key: str) -> str:
    """The job of the output with this key: every attempt at it finds the same one."""
    return f"opencharacter-sft-{key[:20]}"


def processes_per_node(config: SftConfig, settings: TrainJobSettings) -> int:
    """Training processes of each pod. Raises `UserError` if they aren't one for each GPU."""
    each, rest = divmod(config.processes, settings.nodes)
    if rest or (settings.gpus_per_node and each != settings.gpus_per_node):
        expected = settings.nodes * max(1, settings.gpus_per_node)
        raise UserError(
            f"sft.processes is {config.processes}, but the training runs on {settings.nodes} nodes with"
            f" {settings.gpus_per_node} GPU(s) each",
            hint=f"set sft.processes to {expected}, or change steps.sft of the cluster file",
        )
    return each


def train_job(
    settings: TrainJobSettings,
    arguments: NodeArguments,
    namespace: str,
    owner: dict[str, Any] | None = None,
    *,
    task_run: str | None = None,
) -> dict[str, Any]:
    """The whole object. `owner` is an owner reference: the job goes when its owner goes.

    `task_run` is the MLflow run of the task that starts it. It does not count as a difference to a job that is there:
    each run of the pipeline has another one.
    """
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": GROUP, "kind": settings.runtime_kind, "name": settings.runtime},
        "trainer": _trainer(settings, arguments),
        "runtimePatches": [_patch(settings)],
    }
    labels = {"app.kubernetes.io/name": "opencharacter", "app.kubernetes.io/component": "sft"}
    if settings.queue:
        labels["kueue.x-k8s.io/queue-name"] = settings.queue
    if settings.priority:
        labels["kueue.x-k8s.io/priority-class"] = settings.priority
    metadata: dict[str, Any] = {
        "name": job_name(arguments.key),
        "namespace": namespace,
        "labels": labels,
        "annotations": {SPEC_ANNOTATION: digest([spec, labels])},
    }
    if task_run:
        spec["trainer"]["env"].append({"name": RUN_VARIABLE, "value": task_run})
    if owner:
        metadata["ownerReferences"] = [owner]
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob", "metadata": metadata, "spec": spec}


def _trainer(settings: TrainJobSettings, arguments: NodeArguments) -> dict[str, Any]:
    both = {"memory": settings.memory}
    if settings.gpus_per_node:
        both[settings.gpu_resource] = str(settings.gpus_per_node)
    resources = {
        "requests": {name: value for name, value in ({"cpu": settings.cpu} | both).items() if value},
        "limits": {name: value for name, value in ({"cpu": settings.cpu_limit} | both).items() if value},
    }
    trainer: dict[str, Any] = {
        "image": settings.image,
        "command": ["python", "-m", "opencharacter.training.node"],
        # Kubernetes replaces $(NAME) in arguments.
        "args": [arguments.model_dump_json().replace("$(", "$$(")],
        "env": _environment(settings),
        "numNodes": settings.nodes,
        "numProcPerNode": processes_per_node(arguments.config, settings),
    }
    if quantities := {name: value for name, value in resources.items() if value}:
        trainer["resourcesPerNode"] = quantities
    return trainer


def _environment(settings: TrainJobSettings) -> list[dict[str, Any]]:
    # TMPDIR: the model is written there before it is uploaded. USER: torch asks who it is, and a numeric user need not
    # stand in the image's passwd.
    plain = {"HOME": WORK_FOLDER, "USER": "opencharacter", "TMPDIR": WORK_FOLDER}
    plain |= {CACHE_VARIABLE: f"{WORK_FOLDER}/cache", GPUS_VARIABLE: str(settings.gpus_per_node)}
    if not settings.gpus_per_node:
        # CUDA's images ask for all GPUs of the node, and some nodes give them to a pod that has requested none.
        plain["NVIDIA_VISIBLE_DEVICES"] = "void"
    plain |= settings.env
    if settings.prompts_config_map:
        plain[OVERRIDE_VARIABLE] = _PROMPTS_FOLDER
    secret = [{"name": each.name, "valueFrom": {"secretKeyRef": _key(each)}} for each in settings.secrets]
    return [{"name": name, "value": value} for name, value in plain.items()] + secret


def _key(variable: SecretVariable) -> dict[str, Any]:
    return {"name": variable.secret, "key": variable.key} | ({"optional": True} if variable.optional else {})


def _patch(settings: TrainJobSettings) -> dict[str, Any]:
    """What the runtime's pods get besides: Trainer's `trainer` section knows image, arguments and resources only."""
    volumes = _volumes(settings)
    container = {
        "name": NODE,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "volumeMounts": [{"name": volume["name"], "mountPath": path} for path, volume in volumes.items()],
    }
    pod: dict[str, Any] = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user,
            "runAsGroup": settings.user,
            "fsGroup": settings.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": list(volumes.values()),
        "nodeSelector": settings.node_selector,
        "tolerations": settings.tolerations,
        "affinity": settings.affinity,
        "serviceAccountName": settings.service_account,
        "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
    }
    template = {
        # A sidecar would outlive the training, and the pods talk to each other on ports that it doesn't know.
        "metadata": {
            "labels": {
                "app.kubernetes.io/name": "opencharacter",
                "app.kubernetes.io/component": "sft",
                "sidecar.istio.io/inject": "false",
            }
        },
        "spec": {name: value for name, value in pod.items() if value},
    }
    job = {"name": NODE, "template": {"spec": {"template": template}}}
    return {"manager": "opencharacter.io/sft", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}


def _volumes(settings: TrainJobSettings) -> dict[str, dict[str, Any]]:
    """Mount path to volume: everything that may be written on the read-only root file system, and the prompts."""
    volumes: dict[str, dict[str, Any]] = {
        "/tmp": {"name": "tmp", "emptyDir": {}},
        WORK_FOLDER: {"name": "work"} | _work_volume(settings),
    }
    if settings.shm:
        volumes["/dev/shm"] = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": settings.shm}}
    if settings.prompts_config_map:
        volumes[_PROMPTS_FOLDER] = {"name": "prompts", "configMap": {"name": settings.prompts_config_map}}
    return volumes


def _work_volume(settings: TrainJobSettings) -> dict[str, Any]:
    if settings.scratch is None:
        return {"emptyDir": {}}
    claim: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": settings.scratch}},
    }
    if settings.scratch_storage_class:
        claim["storageClassName"] = settings.scratch_storage_class
    return {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}
