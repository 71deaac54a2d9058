"""A cluster file's retries, and what Argo on the cluster makes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.argo import SEEN, STOCK, broken_promises, with_default
from support.compiled import Compiled, compile_for
from support.kubernetes_api import KubernetesApi

from opencharacter.cli import main
from opencharacter.cluster.loading import load_cluster
from opencharacter.cluster.workflow_defaults import RetryRules, defaults_patch, retry_rules
from opencharacter.errors import UserError

PATH = "/api/v1/namespaces/{}/configmaps/workflow-controller-configmap"
GROUP = load_cluster("node8").run_as_user
RECIPE = {"cpu": "demo", "node8": "final", "pool": "final"}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Compiled]:
    folder = tmp_path_factory.mktemp("compiled")
    made = {cluster: compile_for(folder, preset, cluster) for cluster, preset in RECIPE.items()}
    return made.__getitem__


def patched(config_map: dict[str, Any]) -> dict[str, Any]:
    return config_map | {"data": config_map["data"] | defaults_patch(config_map, group=GROUP)["data"]}


@pytest.mark.parametrize("cluster", RECIPE)
def test_with_the_guides_patch_each_step_is_retried_as_its_cluster_says(
    compiled: Callable[[str], Compiled], cluster: str
) -> None:
    assert broken_promises(compiled(cluster), patched(STOCK)) == []


@pytest.mark.parametrize("cluster", RECIPE)
def test_without_it_a_step_that_fails_is_never_tried_again(compiled: Callable[[str], Compiled], cluster: str) -> None:
    """The fault, put back: a server's default undoes what the cluster says."""
    broken = broken_promises(compiled(cluster), STOCK)
    assert [line.split(":")[0] for line in broken] == list(compiled(cluster).tasks)
    assert all("0 of" in line and line.endswith("ends as Failed") for line in broken)


@pytest.mark.parametrize(("default", "failed", "lost", "dags"), SEEN)
def test_what_a_cluster_did_is_what_we_say_of_it(
    compiled: Callable[[str], Compiled], default: dict[str, str] | None, failed: bool, lost: bool, dags: bool
) -> None:
    config_map = with_default(default)
    assert retry_rules(config_map) == RetryRules(failed, lost, dags)
    broken = broken_promises(compiled("cpu"), config_map)
    assert any(line.endswith("as Failed") for line in broken) is not failed
    assert any(line.endswith("as Error") for line in broken) is not lost
    assert any("run again" in line for line in broken) is dags


@pytest.mark.parametrize("config_map", [STOCK, *(with_default(row[0]) for row in SEEN)])
def test_the_patch_changes_retries_and_group_only(config_map: dict[str, Any]) -> None:
    before = yaml.safe_load(config_map["data"]["workflowDefaults"])
    once = patched(config_map)
    assert set(defaults_patch(config_map, group=GROUP)["data"]) == {"workflowDefaults"}
    after = yaml.safe_load(once["data"]["workflowDefaults"])
    assert yaml.safe_load(after["spec"].pop("podSpecPatch"))["securityContext"]["fsGroup"] == GROUP
    assert after["spec"].pop("templateDefaults") == {"retryStrategy": {"limit": "0", "retryPolicy": "Always"}}
    before["spec"].pop("templateDefaults")
    assert after == before
    assert patched(once) == once


def test_the_patch_keeps_what_an_administrator_has_added() -> None:
    theirs = {"spec": {"podSpecPatch": "terminationGracePeriodSeconds: 9\nsecurityContext: {fsGroup: 7}\n"}}
    data = {"config": yaml.safe_dump({"parallelism": 5, "workflowDefaults": theirs})}
    settings = yaml.safe_load(patched({"data": data})["data"]["config"])
    assert settings["parallelism"] == 5
    pod = yaml.safe_load(settings["workflowDefaults"]["spec"]["podSpecPatch"])
    assert (pod["terminationGracePeriodSeconds"], pod["securityContext"]["fsGroup"]) == (9, 7)


def test_defaults_that_cannot_be_read_are_named() -> None:
    with pytest.raises(UserError, match=r"workflowDefaults\.spec\.podSpecPatch is not valid YAML"):
        patched({"data": {"workflowDefaults": "spec: {podSpecPatch: '{{workflow.parameters.patch}} x'}"}})
    with pytest.raises(UserError, match="workflowDefaults is not valid YAML"):
        retry_rules({"data": {"workflowDefaults": "spec: ["}})


# What a person is shown before a run.


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main(["cluster", "preflight", "--cluster", "pool", "--cluster-set", "namespace=team", "--warn-only"])
    lines = capsys.readouterr().out.splitlines()
    [found] = [line for line in lines if " Retries: " in line]
    return found


def test_preflight_says_what_is_not_tried_again(cluster: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.objects[PATH.format("kubeflow")] = STOCK
    line = shown(capsys)
    assert line.startswith("warning")
    assert "a step that fails (its own error, out of memory) is NOT tried again on this cluster" in line
    assert "one whose pod is lost (deleted, its node gone) is, up to 10 times" in line
    cluster.objects[PATH.format("kubeflow")] = with_default(None)
    assert "one whose pod is lost (deleted, its node gone) is NOT on this cluster" in shown(capsys)
    cluster.objects[PATH.format("kubeflow")] = with_default({"limit": "2", "retryPolicy": "Always"})
    assert "the loops and branches around the step begin again" in shown(capsys)
    cluster.objects[PATH.format("team")] = patched(STOCK)
    assert shown(capsys).startswith("ok ")


def test_a_configmap_out_of_sight_is_no_obstacle(cluster: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no ConfigMap workflow-controller-configmap in team or kubeflow" in shown(capsys)
    cluster.denied.add(PATH.format("kubeflow"))
    line = shown(capsys)
    assert line.startswith("unknown")
    assert "may not read ConfigMap kubeflow/workflow-controller-configmap (403 Forbidden)" in line
    cluster.objects[PATH.format("team")] = STOCK | {"data": {"workflowDefaults": "spec: ["}}
    assert "workflowDefaults is not valid YAML" in shown(capsys)


def test_the_command_writes_the_patch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text(yaml.safe_dump(STOCK))
    with pytest.raises(SystemExit) as caught:
        main(["cluster", "workflow-defaults", str(file)])
    assert not caught.value.code
    assert yaml.safe_load(capsys.readouterr().out) == defaults_patch(STOCK, group=GROUP)
    for text, told in (("[", "not valid YAML"), ("kind: ConfigMap", "expected a ConfigMap with its `data`")):
        file.write_text(text)
        with pytest.raises(SystemExit) as caught:
            main(["cluster", "workflow-defaults", str(file)])
        assert (caught.value.code, told in capsys.readouterr().err) == (2, True)
