"""Submitting the pipeline to a Kubeflow Pipelines server."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opencharacter.cluster.spec import Cluster
from opencharacter.config.run import RunConfig
from opencharacter.errors import OpenCharacterError
from opencharacter.pipelines.compile import check_placement, check_workspace, compile_pipeline, read_ir
from opencharacter.pipelines.kfp_client import (
    NO_API_HINT,
    KfpServer,
    NotTheApi,
    Refused,
    Unanswered,
    not_the_api,
    open_client,
    quiet,
)

_EXPERIMENT_VARIABLE = "KF_PIPELINES_OVERRIDE_EXPERIMENT_NAME"
"""KFP's own variable."""
_EQUALS = 1
"""KFP's number of the filter operation."""


@dataclass(frozen=True)
class Submitted:
    """A run that the server has accepted."""

    run_id: str
    url: str


def submit_pipeline(
    config: RunConfig,
    *,
    host: str,
    workspace: str,
    cluster: Cluster | None = None,
    experiment: str | None = None,
    token: str | None = None,
) -> Submitted:
    """Compile and start a run on the server at `host`; data go to `workspace`, which every step's pod must reach.

    Raises `UserError` for a local workspace, an address or token that cannot be one, or a cluster that the run does not
    fit, before anything is sent; `OpenCharacterError` if the server cannot be reached, refuses, or is something else.
    """
    check_workspace(workspace)
    if cluster:
        check_placement(config, cluster)
    server = KfpServer(host, token)
    try:
        namespace = _namespace(server, token, cluster)
        spec = _compiled(config, cluster)
        name = os.environ.get(_EXPERIMENT_VARIABLE) or experiment or config.registry.experiment
        run_id = _start(
            server,
            {
                "experiment_id": _experiment(server, name, namespace),
                "display_name": config.name,
                "pipeline_spec": spec,
                "runtime_config": {"parameters": {"workspace": workspace}},
                **({"service_account": cluster.service_account} if cluster and cluster.service_account else {}),
            },
        )
    except NotTheApi as error:
        raise OpenCharacterError(not_the_api(server.host, error), hint=NO_API_HINT) from error
    except Refused as error:
        raise OpenCharacterError(f"{server.host} refused the run: {error}", hint=error.hint) from error
    except Unanswered as error:
        raise OpenCharacterError(
            f"no Kubeflow Pipelines server answers at {server.host}: {error}", hint=NO_API_HINT
        ) from error
    return Submitted(run_id=run_id, url=f"{server.host}/#/runs/details/{run_id}")


def _compiled(config: RunConfig, cluster: Cluster | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, quiet():
        package = compile_pipeline(config, Path(folder) / "pipeline.yaml", cluster=cluster)
        pipeline, *platform = read_ir(package)
    # Caching stays as it was compiled: some tasks must never be cached.
    return {"pipeline_spec": pipeline, "platform_spec": platform[0]} if platform else pipeline


def _namespace(server: KfpServer, token: str | None, cluster: Cluster | None) -> str | None:
    """The namespace of the run; none on a server for one user, which refuses any."""
    health = server.read(server.client.healthzs.healthz_service_get_healthz)
    if health.get("apiServerReady") is False:
        raise Unanswered("its interface answers, and says that the API server behind it does not")
    if not health.get("multi_user"):
        return None
    return cluster.namespace if cluster else open_client(server.host, token).get_user_namespace() or None


def _experiment(server: KfpServer, name: str, namespace: str | None) -> str:
    from kfp_server_api import V2beta1Experiment

    calls = server.client.experiments
    named = json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "stringValue": name}]})
    where = {"namespace": namespace} if namespace else {}
    known = server.read(calls.experiment_service_list_experiments, filter=named, **where).get("experiments")
    if known:
        return _id(known[0] if isinstance(known, list) else known, "experiment_id")
    new = V2beta1Experiment(display_name=name, namespace=namespace)
    return _id(server.read(calls.experiment_service_create_experiment, experiment=new), "experiment_id")


def _start(server: KfpServer, run: dict[str, Any]) -> str:
    return _id(server.read(server.client.runs.run_service_create_run, run=run), "run_id")


def _id(answer: Any, key: str) -> str:
    if not isinstance(answer, dict) or not isinstance(answer.get(key), str) or not answer[key]:
        raise NotTheApi(f"its answer has no {key}")
    return answer[key]
