"""What the acceptance suite takes away: what it made, and nothing else."""

import os
import sys
from pathlib import Path

import pytest
from support.acceptance.kube import (
    CLUSTER_ROLES,
    LEASES,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICES_OF_MODELS,
    WORKFLOWS,
    Kube,
    KubeError,
)
from support.acceptance.ledger import LABEL, Ledger
from support.acceptance.programs import Ended, port_forward
from support.acceptance.releases import install
from support.acceptance.settings import Settings
from support.acceptance.store import delete_below, names_below, put_text
from support.acceptance.suite import Suite
from support.acceptance.waiting import Deadline
from support.kfp_api import KfpApi, kfp_api
from support.object_api import ObjectApi
from support.object_store import BUCKET, ObjectStore

SECRETS_HERE = SECRETS.format("kubeflow")
SERVICES_HERE = SERVICES_OF_MODELS.format("kubeflow")


@pytest.fixture
def ledger(kube: Kube) -> Ledger:
    return Ledger(kube, "oct-1a2b3c")


def secret(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}


def test_what_was_made_goes_and_the_rest_stays(api: ObjectApi, ledger: Ledger) -> None:
    api.put(f"{SECRETS_HERE}/theirs")
    api.put(f"{SECRETS_HERE}/another-session", labels={LABEL: "oct-ffffff"})
    ledger.create(SECRETS_HERE, secret("oct-1a2b3c-s3"))
    ledger.namespace("oct-1a2b3c-trial")
    assert api.objects[f"{SECRETS_HERE}/oct-1a2b3c-s3"]["metadata"]["labels"] == {LABEL: "oct-1a2b3c"}
    assert ledger.clean() == []
    assert set(api.objects) == {f"{SECRETS_HERE}/theirs", f"{SECRETS_HERE}/another-session"}


def test_an_object_that_another_has_put_in_its_place_stays(api: ObjectApi, ledger: Ledger) -> None:
    ledger.create(SECRETS_HERE, secret("shared"))
    api.put(f"{SECRETS_HERE}/shared", labels={LABEL: "oct-1a2b3c"})  # another uid
    assert ledger.clean() == []
    assert f"{SECRETS_HERE}/shared" in api.objects


def test_what_the_product_makes_is_known_by_the_id_in_its_name(api: ObjectApi, ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="does not hold oct-1a2b3c"):
        ledger.expect(f"{SERVICES_HERE}/opencharacter-demo")
    ledger.expect(f"{SERVICES_HERE}/oct-1a2b3c")
    api.put(f"{SERVICES_HERE}/oct-1a2b3c")
    api.put(f"{SERVICES_HERE}/opencharacter-demo")
    assert ledger.clean() == []
    assert set(api.objects) == {f"{SERVICES_HERE}/opencharacter-demo"}


def test_what_was_made_last_goes_first_and_a_failure_does_not_stop_the_rest(api: ObjectApi, ledger: Ledger) -> None:
    undone: list[str] = []

    def fails() -> None:
        raise KubeError("DELETE", "/runs/1", 403, "not allowed")

    ledger.create(SECRETS_HERE, secret("oct-1a2b3c-s3"))
    ledger.will_undo("first", lambda: undone.append("first"))
    ledger.will_undo("run 1", fails)
    ledger.will_undo("last", lambda: undone.append("last"))
    assert ledger.kept()[0] == "last"
    assert ledger.clean() == ["run 1: DELETE /runs/1: 403: not allowed"]
    assert undone == ["last", "first"]
    assert not api.objects


def test_what_could_not_be_made_is_not_taken_away(api: ObjectApi, ledger: Ledger) -> None:
    api.put(f"{SECRETS_HERE}/theirs")
    with pytest.raises(KubeError, match="already exists"):
        ledger.create(SECRETS_HERE, secret("theirs"))
    assert ledger.clean() == []
    assert f"{SECRETS_HERE}/theirs" in api.objects


def test_hiccups_of_the_api_are_waited_out(api: ObjectApi, kube: Kube) -> None:
    api.put(f"{NAMESPACES}/kubeflow")
    api.failures = [503, 429]
    assert kube.get(f"{NAMESPACES}/kubeflow")
    api.failures = [403]
    with pytest.raises(KubeError, match="403: not well"):
        kube.get(f"{NAMESPACES}/kubeflow")
    assert kube.find(PODS.format("kubeflow")) == []


def test_the_bucket_loses_the_sessions_prefix_only(s3_server: ObjectStore, s3_root: str) -> None:
    for name in ("oct-1/a", "oct-1/b/c", "oct-10/a", "oct-1"):
        put_text(f"{s3_root}/{name}", "text", s3_server.url)
    assert delete_below(f"{s3_root}/oct-1", s3_server.url) == 2
    assert sorted(names_below(s3_root, s3_server.url)) == ["oct-1", "oct-10/a"]
    with pytest.raises(ValueError, match="whole bucket"):
        delete_below(f"s3://{BUCKET}", s3_server.url)


def kfp_suite(kfp: KfpApi, kube: Kube, ledger: Ledger, folder: Path) -> Suite:
    suite = Suite(Settings(namespace="kubeflow"), kube, ledger, Deadline(1), folder, ledger.session)
    suite.kfp_host = kfp.url
    return suite


def test_runs_their_workflows_and_the_experiment_go(api: ObjectApi, kube: Kube, ledger: Ledger, tmp_path: Path) -> None:
    place = WORKFLOWS.format("kubeflow")
    with kfp_api() as kfp:
        for run, experiment in (("r1", "e1"), ("r2", "e1"), ("broken-off", "e1"), ("theirs", "e2")):
            kfp.told[run] = [{"run_id": run, "experiment_id": experiment}]
            api.put(f"{place}/wf-{run}", labels={"pipeline/runid": run})
        kfp.experiment_name = ledger.session
        suite = kfp_suite(kfp, kube, ledger, tmp_path)
        suite.will_submit()
        for run in ("r1", "r2"):
            suite.adopt(Ended("submit", 0, f"run {run}\nhttp://page\n", ""))
        assert ledger.clean() == []
    assert kfp.deleted == ["runs/r2", "runs/r1", "runs/broken-off", "experiments/e1"]
    assert set(api.objects) == {f"{place}/wf-theirs"}


def test_an_experiment_of_another_name_stays(kube: Kube, ledger: Ledger, tmp_path: Path) -> None:
    with kfp_api() as kfp:
        kfp.told["r1"] = [{"run_id": "r1", "experiment_id": "e1"}]
        kfp.experiment_name = "production"
        suite = kfp_suite(kfp, kube, ledger, tmp_path)
        suite.will_submit()
        assert ledger.clean() == []
    assert kfp.deleted == []


def test_what_helm_leaves_behind_goes_and_what_was_there_before_stays(
    api: ObjectApi, kube: Kube, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role, lease = (
        f"{CLUSTER_ROLES}/opencharacter-preflight-kubeflow",
        f"{LEASES.format('kubeflow')}/opencharacter-promoter",
    )
    api.put(lease)
    suite = Suite(Settings(namespace="kubeflow"), kube, ledger, Deadline(1), tmp_path, ledger.session)
    monkeypatch.setattr(suite, "helm", lambda *words, **_: Ended(" ".join(words), 0, "", ""))
    install(suite, ledger.session, "kubeflow", {})
    api.put(role)  # a hook's, of an install that was broken off
    api.put(f"{CLUSTER_ROLES}/opencharacter-preflight-elsewhere")
    assert ledger.clean() == []
    assert set(api.objects) == {lease, f"{CLUSTER_ROLES}/opencharacter-preflight-elsewhere"}


def test_ctrl_c_does_not_reach_the_forwarded_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "kubectl"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, socket, sys, time\n"
        "port = int(sys.argv[5].partition(':')[0])\n"
        f"pathlib.Path({str(tmp_path)!r}, 'session').write_text(str(os.getsid(0)))\n"
        "server = socket.create_server(('127.0.0.1', port))\n"
        "time.sleep(60)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with port_forward("kubeflow", "svc/mlflow:5000"):
        assert int((tmp_path / "session").read_text()) != os.getsid(0)
