"""Compiling the pipeline to KFP's intermediate representation (IR)."""

import re
import tempfile
from pathlib import Path
from typing import Any

import yaml

from opencharacter.cluster.checks import Issue, check_compatibility, fatal_first, require_compatible
from opencharacter.cluster.spec import Cluster
from opencharacter.cluster.steps import resolve_steps
from opencharacter.config.run import RunConfig
from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.pipelines.dag import build_pipeline
from opencharacter.planning.capacity import check_training_memory
from opencharacter.planning.deciding import require_deciding
from opencharacter.templates import overridden_prompts

_OBJECT_PREFIX = re.compile(r"s3://[A-Za-z0-9._-]{1,255}(/.*)?")


def compile_pipeline(
    config: RunConfig,
    target: Path,
    *,
    workspace: str | None = None,
    cluster: Cluster | None = None,
    kubernetes: bool = False,
) -> Path:
    """Write the IR of a run to `target` (.yaml or .json). `workspace` becomes the parameter's default.

    With a `cluster` the file holds each step's images, resources and platform settings, too. With `kubernetes` it
    holds the objects Pipeline and PipelineVersion instead, for a Kubeflow Pipelines that keeps pipelines in Kubernetes.
    Raises `UserError` for another ending, a workspace that no pod reaches, a run that cannot work on that cluster, or
    overridden prompts for which it has no ConfigMap.
    """
    from kfp import compiler

    if target.suffix not in (".yaml", ".yml", ".json"):
        raise UserError(f"{target}: expected a name that ends in .yaml or .json")
    if kubernetes and target.suffix == ".json":
        raise UserError(f"{target}: Kubernetes objects are written as YAML; expected a name that ends in .yaml")
    if workspace:
        check_workspace(workspace)
    if cluster:
        check_placement(config, cluster)
    parameters = {"workspace": workspace} if workspace else None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        draft = Path(scratch) / target.name
        pipeline = build_pipeline(config, cluster)
        compiler.Compiler().compile(pipeline, str(draft), pipeline_parameters=parameters)
        if kubernetes:
            options = compiler.KubernetesManifestOptions(
                pipeline_version_name=_version_name(draft),
                namespace=cluster.namespace if cluster else None,
                include_pipeline_manifest=True,
            )
            compiler.Compiler().compile(
                pipeline,
                str(draft),
                pipeline_parameters=parameters,
                kubernetes_manifest_options=options,
                kubernetes_manifest_format=True,
            )
        draft.replace(target)
    return target


def _version_name(ir: Path) -> str:
    """A name that follows from the content: Kubeflow Pipelines refuses to change a version's specification."""
    documents = read_ir(ir)
    return f"{documents[0]['pipelineInfo']['name']}-{digest(documents)[:8]}"


def check_workspace(workspace: str) -> None:
    """Raise `UserError` for a workspace that no pod would reach."""
    if not _OBJECT_PREFIX.fullmatch(workspace):
        raise UserError(f"--workspace {workspace}: a cluster needs an object store prefix, such as s3://bucket/prefix")


def find_issues(config: RunConfig, cluster: Cluster) -> list[Issue]:
    """The issues of a run on a cluster that show without reading the run's data. Fatal ones come first."""
    steps = resolve_steps(config, cluster)
    return fatal_first([*check_compatibility(config, cluster, steps), *check_training_memory(steps["sft"])])


def check_placement(config: RunConfig, cluster: Cluster) -> None:
    """Raise a `UserError` that names the keys if the run cannot work on the cluster."""
    require_deciding(config)
    require_compatible(config.name, cluster.name, find_issues(config, cluster))
    if overridden_prompts() and not cluster.prompts_config_map:
        raise UserError(
            f"prompts are overridden, but the cluster '{cluster.name}' names no prompts_config_map",
            hint="make a ConfigMap of that folder and name it: kubectl create configmap NAME --from-file FOLDER",
        )


def read_ir(path: Path) -> list[dict[str, Any]]:
    """The pipeline spec of a compiled file and, for a cluster, its platform settings."""
    # A pipeline has thousands of lines: libyaml reads them ten times as fast as Python does.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=loader))
