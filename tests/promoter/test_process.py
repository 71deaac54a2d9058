"""The promoter's process: its command, webhooks, the lease, signals."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from support.kserve_cluster import NAMESPACE, KServeCluster

from opencharacter.cli import main
from opencharacter.hashing import digest
from opencharacter.promoter import PromoterConfig
from opencharacter.promoter.lease import Lease
from opencharacter.promoter.run import Promoter
from opencharacter.system.processes import free_port

SECRET = "only MLflow and we know it"


@pytest.fixture
def client(mlflow_uri: str, model: str) -> Iterator[MlflowClient]:
    """A model with a version that no gate knows, and one that was promoted by force."""
    client = MlflowClient(mlflow_uri)
    client.create_registered_model(model)
    for number, tags in (("1", {}), ("2", {"promotion_reason": "forced: a test"})):
        tags = tags | {"weights_uri": f"s3://bucket/{number}", "weights_digest": number * 64}
        client.create_model_version(model, f"s3://bucket/{number}", tags=tags)
    yield client
    for webhook in client.list_webhooks():
        client.delete_webhook(webhook.webhook_id)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return f"model-{digest(request.node.nodeid)[:12]}"


def settings(model: str, **changes: Any) -> dict[str, Any]:
    deploy = {"service_name": "bard", "gpus": 0}
    base = {"models": [{"model": model, "deploy": deploy}], "poll_s": 3600, "host": "127.0.0.1", "port": free_port()}
    return base | {"lease": {"duration_s": 15}} | changes


def written(folder: Path, config: dict[str, Any]) -> str:
    path = folder / "promoter.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["promoter", *arguments])
    streams = capsys.readouterr()
    return int(caught.value.code or 0), streams.out, streams.err


def test_a_webhook_wakes_it_and_sigterm_ends_it_in_the_middle_of_a_rollout(
    client: MlflowClient, model: str, kserve: KServeCluster, tmp_path: Path
) -> None:
    config = settings(model)
    address = f"http://127.0.0.1:{config['port']}"
    config["webhook"] = {"url": f"{address}/webhooks/mlflow"}
    command = [str(Path(sys.executable).with_name("opencharacter")), "promoter", "--config", written(tmp_path, config)]
    environment = os.environ | {"KUBECONFIG": str(tmp_path / "kubeconfig"), "OPENCHARACTER_WEBHOOK_SECRET": SECRET}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:

        def read_until(*parts: str) -> None:
            left = set(parts)
            for line in process.stdout:
                left -= {part for part in left if part in line}
                if not left:
                    return
            pytest.fail(f"it ended without {left}")

        read_until("holds the lease", "MLflow has the webhook", "has no alias 'champion'")
        client.set_registered_model_alias(model, "champion", "1")
        read_until("version 1 is not deployed: no gate has decided on it")
        with urllib.request.urlopen(f"{address}/healthz", timeout=10) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            figures = answer.read().decode()
        assert "opencharacter_promoter_leader 1.0" in figures
        assert f'opencharacter_promoter_desired_version{{model="{model}",service="bard"}} 1.0' in figures
        client.set_registered_model_alias(model, "champion", "2")
        read_until("rolling out version 2")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert kserve.records.leases[NAMESPACE, "opencharacter-promoter"]["spec"]["holderIdentity"] == ""
        assert kserve.records.reasons() == ["RolloutRefused", "RolloutStarted"]
        assert "deployment" not in client.get_model_version(model, "2").tags, "left as it is, for the next start"
    finally:
        process.kill()
        process.wait()


def test_a_second_process_stands_by_until_the_lease_is_free(
    client: MlflowClient, model: str, kserve: KServeCluster
) -> None:
    client.set_registered_model_alias(model, "champion", "1")
    other = Lease("opencharacter-promoter", NAMESPACE, "other", duration_s=15, clock=time.monotonic)
    assert other.renew()
    lines: queue.Queue[str] = queue.Queue()
    promoter = Promoter(PromoterConfig.model_validate(settings(model)), lines.put)
    thread = threading.Thread(target=promoter.run)
    thread.start()
    try:
        assert "standing by" in lines.get(timeout=30)
        assert kserve.records.events == []
        other.release()
        seen = ""
        while "is not deployed" not in seen:
            seen = lines.get(timeout=30)
        assert kserve.records.reasons() == ["RolloutRefused"]
    finally:
        promoter.stop()
        thread.join(timeout=30)
    assert not thread.is_alive()
    assert other.renew(), "it gave the lease back"


def test_once_looks_once_and_says_what_is_not_served(client, model, kserve, tmp_path, capsys) -> None:
    path = written(tmp_path, settings(model))
    assert run("--config", path, "--once", capsys=capsys)[0] == 0, "without an alias there is nothing to do"
    client.set_registered_model_alias(model, "champion", "1")
    code, _, err = run("--config", path, "--once", capsys=capsys)
    assert (code, "version 1 is not deployed: no gate has decided" in err) == (1, True)
    assert kserve.records.leases[NAMESPACE, "opencharacter-promoter"]["spec"]["holderIdentity"] == ""
    assert Lease("opencharacter-promoter", NAMESPACE, "other", duration_s=60, clock=time.monotonic).renew()
    code, _, err = run("--config", path, "--once", capsys=capsys)
    assert (code, f"another promoter holds the lease {NAMESPACE}/opencharacter-promoter" in err) == (1, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pol_s": 5}, "pol_s: unknown key; did you mean 'poll_s'?"),
        ({"models": []}, "models:"),
        ({"models": [{"model": "a"}, {"model": "b"}]}, "models: 2 have the service 'opencharacter'"),
        ({"models": [{"model": "a", "deploy": {"gpus": 3}}]}, "models.0.deploy.gpus"),
        ({"webhook": {"url": "http://promoter:8080/webhooks/mlflow"}}, "OPENCHARACTER_WEBHOOK_SECRET is not set"),
    ],
)
def test_a_bad_file_is_refused_by_key(changes, message, tmp_path, capsys, kserve, monkeypatch) -> None:
    monkeypatch.delenv("OPENCHARACTER_WEBHOOK_SECRET", raising=False)
    path = written(tmp_path, settings("m", **changes))
    code, _, err = run("--config", path, capsys=capsys)
    assert code == 2
    assert message in err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("--config", str(tmp_path / "absent.yaml"), capsys=capsys)
    assert (code, "absent.yaml: no such file" in err) == (2, True)
