"""Gives the pipeline's tasks what their steps ask for: image, resources, nodes, volumes, environment, retries."""

from collections.abc import Iterable
from typing import Any

from opencharacter.cluster.quantities import seconds
from opencharacter.cluster.spec import Cluster, Placement
from opencharacter.cluster.steps import Step, Steps
from opencharacter.pipelines.trainjob import trainjob_environment
from opencharacter.system.cache import CACHE_VARIABLE
from opencharacter.system.hardware import GPUS_VARIABLE
from opencharacter.templates import OVERRIDE_VARIABLE, overridden_prompts

HOME = "/var/opencharacter"
"""Home, caches and working files of a step, outputs in the making too; the other writable folder is /tmp."""

PROMPTS = "/etc/opencharacter/prompts"
"""Where the ConfigMap of the overridden prompts is mounted."""


_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"


def place_tasks(tasks: Iterable[Any], steps: Steps, cluster: Cluster) -> None:
    """Give each task (`kfp.dsl.PipelineTask`) what its step asks for.

    Where prompts are overridden here, the pods read the cluster's ConfigMap of prompts.
    """
    for task in tasks:
        step = steps[task.component_spec.name]
        pod = step.launcher
        task.container_spec.image = step.image
        _ask_for_resources(task, pod)
        _choose_nodes(task, pod)
        _mount(task, cluster, pod)
        task.container_spec.env = _environment(cluster, step)
        _use_secrets(task, step)
        _secure(task, cluster)
        _retry(task, pod)


def _ask_for_resources(task: Any, placement: Placement) -> None:
    if placement.cpu:
        task.set_cpu_request(placement.cpu)
    if placement.cpu_limit:
        task.set_cpu_limit(placement.cpu_limit)
    if placement.memory:
        task.set_memory_request(placement.memory).set_memory_limit(placement.memory)
    if placement.accelerator:
        task.set_accelerator_type(placement.accelerator.type).set_accelerator_limit(placement.accelerator.count)


def _choose_nodes(task: Any, placement: Placement) -> None:
    from kfp import kubernetes

    for label, value in (placement.node_selector or {}).items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in placement.tolerations or []:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
    terms = placement.affinity or []
    # KFP makes each call an alternative of its own (Kubernetes ORs node selector terms), so rules go into one call.
    if rules := [term.model_dump(exclude={"weight"}) for term in terms if term.weight is None]:
        kubernetes.add_node_affinity(task, match_expressions=rules)
    for term in terms:
        if term.weight is not None:
            expression = term.model_dump(exclude={"weight"})
            kubernetes.add_node_affinity(task, match_expressions=[expression], weight=term.weight)
    if placement.queue:
        kubernetes.add_pod_label(task, _QUEUE_LABEL, placement.queue)
    if placement.priority:
        kubernetes.add_pod_label(task, _PRIORITY_LABEL, placement.priority)


def _mount(task: Any, cluster: Cluster, placement: Placement) -> None:
    from kfp import kubernetes

    kubernetes.empty_dir_mount(task, "tmp", "/tmp")
    if placement.scratch:
        kubernetes.add_ephemeral_volume(
            task,
            "scratch",
            HOME,
            access_modes=["ReadWriteOnce"],
            size=placement.scratch,
            storage_class_name=cluster.scratch_storage_class,
        )
    else:
        kubernetes.empty_dir_mount(task, "scratch", HOME)
    if placement.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=placement.shm)
    if overridden_prompts():
        assert cluster.prompts_config_map, "compile refuses overridden prompts without it"
        kubernetes.use_config_map_as_volume(task, cluster.prompts_config_map, PROMPTS)


def _environment(cluster: Cluster, step: Step) -> dict[str, str]:
    variables = {
        "HOME": HOME,
        "USER": "opencharacter",  # torch looks the user up, and the image's passwd may not list a numeric user
        "TMPDIR": HOME,
        CACHE_VARIABLE: f"{HOME}/cache",
        GPUS_VARIABLE: str(step.launcher.gpus),
    }
    if not step.launcher.gpus:
        # CUDA's images ask for all GPUs of the node, and some nodes give them to a pod that has requested none.
        variables["NVIDIA_VISIBLE_DEVICES"] = "void"
    if overridden_prompts():
        variables[OVERRIDE_VARIABLE] = PROMPTS
    return variables | trainjob_environment(step, cluster) | dict(step.env)


def _use_secrets(task: Any, step: Step) -> None:
    from kfp import kubernetes

    for secret in step.secrets:
        kubernetes.use_secret_as_env(task, secret.secret, secret.keys, optional=secret.optional)


def _secure(task: Any, cluster: Cluster) -> None:
    from kfp import kubernetes

    user = cluster.run_as_user
    kubernetes.set_security_context(task, run_as_user=user, run_as_group=user, run_as_non_root=True)
    kubernetes.set_image_pull_policy(task, cluster.images.pull_policy)
    if cluster.images.pull_secrets:
        kubernetes.set_image_pull_secrets(task, cluster.images.pull_secrets)


def _retry(task: Any, placement: Placement) -> None:
    from kfp import kubernetes

    if placement.retries and placement.retries.count:
        retries = placement.retries
        # All four are needed: KFP's server shares one Argo template among all steps that retry.
        task.set_retry(
            num_retries=retries.count,
            backoff_duration=f"{seconds(retries.backoff)}s",
            backoff_factor=float(retries.factor),
            backoff_max_duration=f"{seconds(retries.within)}s",
        )
    if placement.timeout:
        kubernetes.set_timeout(task, seconds(placement.timeout))
    if placement.caching is False:
        task.set_caching_options(False)
