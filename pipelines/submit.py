"""Submitting the pipeline to a Kubeflow Pipelines server."""

import contextlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.pipelines.compile import compile_pipeline
from opencharacter.pipelines.config import RunConfig


@dataclass(frozen=True)
class Submitted:
    """A run that the server has accepted."""

    run_id: str
    url: str


def submit_pipeline(
    config: RunConfig, *, host: str, workspace: str, experiment: str | None = None, token: str | None = None
) -> Submitted:
    """Compile and start a run on the server at `host`; data go to `workspace`, which every step's pod must reach.

    Raises `UserError` for a local workspace, `OpenCharacterError` if the server cannot be reached or refuses.
    """
    if "://" not in workspace or workspace.startswith("file://"):
        raise UserError(f"--workspace {workspace}: a cluster needs an object store prefix, such as s3://bucket/prefix")
    import kfp
    import urllib3.exceptions
    from kfp_server_api import ApiException

    # The client prints links of its own, for notebooks.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        package = compile_pipeline(config, Path(folder) / "pipeline.yaml")
        try:
            client = kfp.Client(host=host, existing_token=token)
            # No enable_caching here: it would override the tasks that must never be cached.
            run = client.create_run_from_pipeline_package(
                str(package),
                arguments={"workspace": workspace},
                run_name=config.name,
                experiment_name=experiment or config.registry.experiment,
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
