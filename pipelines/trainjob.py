"""The settings of training over several nodes, from the step's record and the cluster."""

from typing import Any

from opencharacter.cluster.spec import AffinityTerm, Cluster
from opencharacter.cluster.steps import Step
from opencharacter.planning.capacity import estimated_memory
from opencharacter.templates import overridden_prompts
from opencharacter.training.trainjob import TRAINJOB_VARIABLE, SecretVariable, TrainJobSettings


def trainjob_environment(step: Step, cluster: Cluster) -> dict[str, str]:
    """What a step's environment needs to train in a TrainJob; empty where its own pod works."""
    if step.nodes == 1:
        return {}
    placement = step.placement
    settings = TrainJobSettings(
        image=step.image,
        nodes=step.nodes,
        runtime=cluster.trainer.runtime,
        runtime_kind=cluster.trainer.runtime_kind,
        gpus_per_node=step.gpus,
        gpu_resource=step.gpu_resource,
        cpu=placement.cpu,
        cpu_limit=placement.cpu_limit,
        memory=placement.memory,
        memory_needed=estimated_memory(step),
        shm=placement.shm,
        scratch=placement.scratch,
        scratch_storage_class=cluster.scratch_storage_class,
        node_selector=placement.node_selector or {},
        tolerations=[toleration.model_dump(exclude_none=True) for toleration in placement.tolerations or []],
        affinity=_node_affinity(placement.affinity or []),
        queue=placement.queue,
        priority=placement.priority,
        env=dict(step.env),
        secrets=_secrets(step),
        prompts_config_map=cluster.prompts_config_map if overridden_prompts() else None,
        pull_secrets=cluster.images.pull_secrets,
        service_account=cluster.service_account,
        user=cluster.run_as_user,
    )
    return {TRAINJOB_VARIABLE: settings.model_dump_json(exclude_defaults=True)}


def _secrets(step: Step) -> list[SecretVariable]:
    return [
        SecretVariable(name=variable, secret=source.secret, key=key, optional=source.optional)
        for source in step.secrets
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
