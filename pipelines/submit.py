"""Submitting the pipeline to a Kubeflow Pipelines server."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from opencharacter.cluster.spec import Cluster
from opencharacter.config.run import RunConfig
from opencharacter.errors import OpenCharacterError
from opencharacter.pipelines.compile import check_workspace, compile_pipeline
from opencharacter.pipelines.kfp_client import open_client, quiet


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

    Raises `UserError` for a local workspace or a cluster that the run does not fit, before anything is sent;
    `OpenCharacterError` if the server cannot be reached or refuses.
    """
    check_workspace(workspace)
    import urllib3.exceptions
    from kfp_server_api import ApiException

    with tempfile.TemporaryDirectory() as folder, quiet():
        package = compile_pipeline(config, Path(folder) / "pipeline.yaml", cluster=cluster)
        try:
            client = open_client(host, token)
            # A server for one user refuses a namespace.
            shared = cluster is not None and client.get_kfp_healthz().multi_user
            # No enable_caching here: it would override the tasks that must never be cached.
            run = client.create_run_from_pipeline_package(
                str(package),
                arguments={"workspace": workspace},
                run_name=config.name,
                experiment_name=experiment or config.registry.experiment,
                namespace=cluster.namespace if cluster and shared else None,
                service_account=cluster.service_account if cluster else None,
            )
        except ApiException as error:
            raise OpenCharacterError(
                f"{host} refused the run: {error.status} {error.reason}", hint=str(error.body or "")[:500] or None
            ) from error
        except (urllib3.exceptions.HTTPError, OSError, RuntimeError) as error:
            raise OpenCharacterError(
                f"no Kubeflow Pipelines server answers at {host}: {error}",
                hint="is it the API's address? Try: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80",
            ) from error
    return Submitted(run_id=run.run_id, url=f"{host.rstrip('/')}/#/runs/details/{run.run_id}")
