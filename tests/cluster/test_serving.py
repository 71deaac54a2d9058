"""The champion behind KServe: ready, in character, without a lost request through an update."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.acceptance import objects
from support.acceptance.kube import (
    DEPLOYMENTS,
    PODS,
    RUNTIMES,
    SECRETS,
    SERVICES_OF_MODELS,
)
from support.acceptance.releases import s3_secret
from support.acceptance.serving import READY_S, Service
from support.acceptance.suite import Run, Suite
from support.acceptance.training import Training

pytestmark = pytest.mark.needs("cluster", "images", "store", "pipelines")


@pytest.fixture(scope="module", autouse=True)
def _meanwhile(second_run: Run, queued_training: Training | None) -> None:
    """What takes long and needs little starts now."""


@pytest.fixture(scope="module")
def other_protocol(suite: Suite, service: Service) -> Iterator[str]:
    """A namespace with our runtime, which there speaks v1 only."""
    runtime = suite.kube.get(f"{RUNTIMES.format(suite.namespace)}/opencharacter")
    assert runtime, "the chart has made no ServingRuntime"
    place = suite.ledger.namespace(f"{suite.id}-v1")
    suite.namespaces.append(place)
    suite.ledger.create(SECRETS.format(place), s3_secret(suite, "opencharacter-s3"))
    body = {key: runtime[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": "opencharacter"}}
    suite.ledger.create(RUNTIMES.format(place), body | {"spec": runtime["spec"] | {"protocolVersions": ["v1"]}})
    yield place
    suite.namespaces.remove(place)


def test_ready(service: Service) -> None:
    """The InferenceService of the run is Ready: it asks for protocol v2, which the runtime speaks."""
    found = service.until_ready()
    assert found["spec"]["predictor"]["model"]["protocolVersion"] == "v2"
    model = found["status"].get("modelStatus") or {}
    assert model.get("transitionStatus") == "UpToDate", model


def test_answer(service: Service, character: Path) -> None:
    """The champion answers as a character, through one address that outlives its versions."""
    service.until_ready()
    answer = service.ask(character)
    assert answer, "an empty answer"
    assert "<|im_" not in answer, answer


def test_rolling_update(suite: Suite, service: Service, character: Path) -> None:
    """A rolling update under load loses no request."""
    service.until_ready()
    before = suite.kube.get(f"{DEPLOYMENTS.format(suite.namespace)}/{service.predictor()}") or {}
    question = {
        "model": suite.id,
        "messages": [{"role": "user", "content": "Say hello."}],
        "character": json.loads(character.read_text(encoding="utf-8")),
        "max_tokens": 8,
    }
    name, place = f"{suite.id}-load", PODS.format(suite.namespace)
    url = f"http://{suite.id}.{suite.namespace}/openai/v1/chat/completions"
    image, policy = suite.image("tools"), suite.settings.pull_policy
    suite.ledger.create(place, objects.load(name, url, json.dumps(question), 600, image, policy))

    def phase() -> str:
        return str(((suite.kube.get(f"{place}/{name}") or {}).get("status") or {}).get("phase"))

    def log() -> str:
        return suite.kube.log(suite.namespace, name, "load")

    suite.deadline.until("the load has begun", lambda: "requests" in log(), seconds=120, state=phase)
    service.deploy(f"models:/{suite.id}@champion", "deploy.max_model_len=1152").expect()
    after = suite.until_available(suite.namespace, service.predictor(), seconds=READY_S)
    assert after["metadata"]["generation"] != before.get("metadata", {}).get("generation") or (
        after["metadata"]["uid"] != before["metadata"]["uid"]
    ), "the Deployment has not changed, so nothing was rolled"
    stop = ("exec", "--namespace", suite.namespace, name, "--container", "load", "--", *objects.STOP_LOAD)
    suite.kubectl(*stop).expect()
    suite.deadline.until("the load has ended", lambda: phase() in ("Succeeded", "Failed"), seconds=180, state=phase)
    told = json.loads(log().strip().splitlines()[-1])
    assert told["sent"] > 10, told
    assert not told["failures"], f"{len(told['failures'])} of {told['sent']}: {told['failures'][:3]}"


def test_no_supporting_runtime(suite: Suite, service: Service, other_protocol: str) -> None:
    """deploy refuses, and says why, where no runtime speaks the protocol."""
    done = service.deploy(f"models:/{suite.id}@champion", namespace=other_protocol).expect(2)
    assert "speaks protocol v1, not v2" in done.said, done.said
    assert suite.kube.get(f"{SERVICES_OF_MODELS.format(other_protocol)}/{suite.id}") is None


def test_kserve_selects_by_protocol(suite: Suite, service: Service) -> None:
    """KServe itself finds no runtime for a server that names no protocol, and says so in its status only."""
    done = service.deploy(f"models:/{suite.id}@champion", "--dry-run").expect()
    manifest = yaml.safe_load(done.out)
    name = f"{suite.id}-none"
    manifest["metadata"]["name"] = name
    del manifest["spec"]["predictor"]["model"]["protocolVersion"]
    place = SERVICES_OF_MODELS.format(suite.namespace)
    suite.ledger.create(place, manifest)

    def failure() -> dict[str, str]:
        status = (suite.kube.get(f"{place}/{name}") or {}).get("status") or {}
        return dict((status.get("modelStatus") or {}).get("lastFailureInfo") or {})

    told = suite.deadline.until("KServe says why", failure, seconds=60)
    assert told["reason"] == "NoSupportingRuntime", told


def test_too_long_a_name(suite: Suite, service: Service) -> None:
    """deploy refuses, before anything is made, a name for which KServe would make nothing."""
    name = f"{suite.id}-{'x' * 40}"
    done = service.deploy(f"models:/{suite.id}@champion", f"deploy.service_name={name}").expect(2)
    assert "too long" in done.said, done.said
    assert suite.kube.get(f"{SERVICES_OF_MODELS.format(suite.namespace)}/{name}") is None
