"""Submission, against a stand-in of the KFP API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kfp_api import KfpApi, kfp_api

from opencharacter.cluster.loading import load_cluster
from opencharacter.config.loading import load_run_config
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.pipelines.compile import compile_pipeline, read_ir
from opencharacter.pipelines.submit import submit_pipeline

WORKSPACE = "s3://models/opencharacter"


@pytest.fixture
def api() -> Iterator[KfpApi]:
    with kfp_api() as state:
        yield state


def test_the_server_gets_the_very_pipeline_that_runs_locally(api: KfpApi, tmp_path: Path) -> None:
    config = load_run_config(preset="demo")
    submitted = submit_pipeline(config, host=api.url, workspace=WORKSPACE, token="secret")
    [run] = api.runs
    sent = run["pipeline_spec"].get("pipeline_spec", run["pipeline_spec"])
    local = read_ir(compile_pipeline(config, tmp_path / "local.yaml"))[0]
    assert sent == local
    assert run["runtime_config"]["parameters"] == {"workspace": WORKSPACE}
    assert api.headers[-1]["authorization"] == "Bearer secret"
    assert submitted.run_id == "r1"
    assert submitted.url == f"{api.url}/#/runs/details/r1"


def test_a_submission_leaves_caching_as_compiled(api: KfpApi) -> None:
    submit_pipeline(load_run_config(preset="demo"), host=api.url, workspace=WORKSPACE)
    spec = api.runs[0]["pipeline_spec"].get("pipeline_spec", api.runs[0]["pipeline_spec"])
    assert not spec["root"]["dag"]["tasks"]["get-champion"]["cachingOptions"].get("enableCache")


def test_a_local_workspace_is_refused_before_anything_is_sent(api: KfpApi) -> None:
    with pytest.raises(UserError, match="object store prefix"):
        submit_pipeline(load_run_config(preset="demo"), host=api.url, workspace="work/demo")
    assert api.runs == []


def test_a_cluster_s_placement_namespace_and_account_are_sent(api: KfpApi) -> None:
    api.multi_user = True
    cluster = load_cluster("node8", ["namespace=team-a", "service_account=trainer"])
    submit_pipeline(load_run_config(preset="final"), host=api.url, workspace=WORKSPACE, cluster=cluster)
    [run] = api.runs
    platform = run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert platform["exec-sft"]["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert run["service_account"] == "trainer"
    assert api.experiments[0]["namespace"] == "team-a"


def test_a_server_for_one_user_is_told_no_namespace(api: KfpApi) -> None:
    cluster = load_cluster("cpu")
    submit_pipeline(load_run_config(preset="demo"), host=api.url, workspace=WORKSPACE, cluster=cluster)
    assert not api.experiments[0].get("namespace")


def test_no_secret_is_sent_but_by_its_name(api: KfpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    cluster = load_cluster("cpu")
    submit_pipeline(load_run_config(preset="demo"), host=api.url, workspace=WORKSPACE, cluster=cluster)
    assert "very-secret" not in str(api.runs)


def test_a_run_that_does_not_fit_is_refused_before_anything_is_sent(api: KfpApi) -> None:
    with pytest.raises(UserError, match="does not fit the cluster 'cpu'"):
        submit_pipeline(load_run_config(preset="final"), host=api.url, workspace=WORKSPACE, cluster=load_cluster("cpu"))
    assert (api.runs, api.experiments) == ([], [])


def test_a_refusal_tells_the_server_s_reason(api: KfpApi) -> None:
    api.refuse = 429
    with pytest.raises(OpenCharacterError, match="refused the run: 429") as caught:
        submit_pipeline(load_run_config(preset="demo"), host=api.url, workspace=WORKSPACE)
    assert "quota exceeded" in (caught.value.hint or "")


def test_no_server_is_one_clear_error() -> None:
    with pytest.raises(OpenCharacterError, match=r"no Kubeflow Pipelines server answers at http://127\.0\.0\.1:9"):
        submit_pipeline(load_run_config(preset="demo"), host="http://127.0.0.1:9", workspace=WORKSPACE)
