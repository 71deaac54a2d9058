"""From a cluster to the settings of a training over several nodes."""

from typing import Any

from opencharacter.cluster.spec import AffinityTerm, Cluster
from opencharacter.errors import UserError
from opencharacter.planning.memory import estimated_memory
from opencharacter.templates import overridden_prompts
from opencharacter.training import SftConfig
from opencharacter.training.trainjob import TRAINJOB_VARIABLE, SecretVariable, TrainJobSettings


def trainjob_environment(cluster: Cluster, config: SftConfig) -> dict[str, str]:
    """What the sft step's environment needs to train in a TrainJob; empty where its own pod trains.

    Raises `UserError` if the cluster's nodes and GPUs are not the processes that `config` asks for.
    """
    placement = cluster.placement("sft")
    nodes = placement.nodes or 1
    if nodes == 1:
        return {}
    gpus = placement.accelerator.count if placement.accelerator else 0
    _check(config, nodes, gpus)
    settings = TrainJobSettings(
        image=cluster.images.reference("training"),
        nodes=nodes,
        runtime=cluster.trainer.runtime,
        runtime_kind=cluster.trainer.runtime_kind,
        gpus_per_node=gpus,
        gpu_resource=placement.accelerator.type if placement.accelerator else "nvidia.com/gpu",
        cpu=placement.cpu,
        cpu_limit=placement.cpu_limit,
        memory=placement.memory,
        memory_needed=estimated_memory(config, cluster),
        shm=placement.shm,
        scratch=placement.scratch,
        scratch_storage_class=cluster.scratch_storage_class,
        node_selector=placement.node_selector or {},
        tolerations=[toleration.model_dump(exclude_none=True) for toleration in placement.tolerations or []],
        affinity=_node_affinity(placement.affinity or []),
        queue=placement.queue,
        priority=placement.priority,
        env=cluster.env,
        secrets=_secrets(cluster),
        prompts_config_map=cluster.prompts_config_map if overridden_prompts() else None,
        pull_secrets=cluster.images.pull_secrets,
        service_account=cluster.service_account,
        user=cluster.run_as_user,
    )
    return {TRAINJOB_VARIABLE: settings.model_dump_json(exclude_defaults=True)}


def _check(config: SftConfig, nodes: int, gpus: int) -> None:
    if gpus and config.processes != nodes * gpus:
        raise UserError(
            f"sft.processes is {config.processes}, but the cluster trains on {nodes} nodes with {gpus} GPUs each",
            hint=f"set sft.processes to {nodes * gpus}, one for each GPU",
        )
    if config.processes % nodes:
        raise UserError(
            f"sft.processes {config.processes} can't be spread evenly over the cluster's {nodes} nodes",
            hint="make sft.processes a multiple of steps.sft.nodes",
        )


def _secrets(cluster: Cluster) -> list[SecretVariable]:
    return [
        SecretVariable(name=variable, secret=source.secret, key=key, optional=source.optional)
        for source in cluster.secrets
        if source.serves("sft")
        for key, variable in source.keys.items()
    ]


def _node_affinity(terms: list[AffinityTerm]) -> dict[str, Any] | None:
    required = [_expression(term) for term in terms if term.weight is None]
    preferred = [
        {"weight": term.weight, "preference": {"matchExpressions": [_expression(term)]}}
        for term in terms
        if term.weight is not None
    ]
    affinity: dict[str, Any] = {}
    if required:
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {
            "nodeSelectorTerms": [{"matchExpressions": required}]
        }
    if preferred:
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    return {"nodeAffinity": affinity} if affinity else None


def _expression(term: AffinityTerm) -> dict[str, Any]:
    expression: dict[str, Any] = {"key": term.key, "operator": term.operator}
    return expression | ({"values": term.values} if term.values else {})
