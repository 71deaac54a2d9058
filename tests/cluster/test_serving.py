"""The champion behind KServe: ready, in character, without a lost request through an update."""

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from support.acceptance import objects
from support.acceptance.kube import (
    DEPLOYMENTS,
    PODS,
    RUNTIMES,
    SECRETS,
    SERVICES_OF_MODELS,
    Object,
    conditions,
    is_true,
)
from support.acceptance.programs import Ended, port_forward
from support.acceptance.releases import Release, s3_secret
from support.acceptance.suite import Run, Suite

pytestmark = pytest.mark.needs("cluster", "images", "store", "pipelines")

_READY_S = 420.0
_CHARACTER = resources.files("opencharacter.data") / "demo" / "character.json"
_QUESTION = "What would you tell your younger self?"


class Service:
    """The InferenceService of the session."""

    def __init__(self, suite: Suite, release: Release, settings: list[str]) -> None:
        self.suite = suite
        self.path = f"{SERVICES_OF_MODELS.format(suite.namespace)}/{suite.id}"
        self._environment = {"MLFLOW_TRACKING_URI": release.local_mlflow}
        self._settings = [each for each in settings if each.startswith(("deploy.", "registry."))]

    def read(self) -> Object | None:
        """The object."""
        return self.suite.kube.get(self.path)

    def deploy(self, model: str, *settings: str, namespace: str | None = None, seconds: float = _READY_S) -> Ended:
        """`opencharacter deploy` of a version or an alias, with the run's own settings and others over them."""
        named = [*self._settings, f"deploy.namespace={namespace or self.suite.namespace}", *settings]
        words = [word for setting in named for word in ("--set", setting)]
        command = ("deploy", "--model", model, "--preset", "demo", *words)
        return self.suite.opencharacter(*command, environment=self._environment, seconds=seconds)

    def predictor(self) -> str:
        """Name of the Deployment that serves now."""
        name = ((self.read() or {}).get("spec", {}).get("predictor") or {}).get("name")
        return f"{self.suite.id}-{name}-predictor" if name else f"{self.suite.id}-predictor"

    def until_ready(self) -> Object:
        """Waits for KServe's own word and for the pods of the newest kind."""
        found = self.suite.deadline.until(
            f"InferenceService {self.suite.id} is Ready",
            lambda: is_true(self.read(), "Ready") and self.read(),
            seconds=_READY_S,
            state=lambda: f"{conditions(self.read())}; {((self.read() or {}).get('status') or {}).get('modelStatus')}",
        )
        self.suite.until_available(self.suite.namespace, self.predictor(), seconds=_READY_S)
        assert isinstance(found, dict)
        label = f"serving.kserve.io/inferenceservice={self.suite.id}"
        self.suite.saw(self.suite.kube.find(PODS.format(self.suite.namespace), labels=label))
        return found


@pytest.fixture(scope="module")
def service(suite: Suite, release: Release, settings: list[str], first_run: Run) -> Service:
    """What the long run has deployed, once that is over."""
    first_run.until_over(seconds=1200)
    made = Service(suite, release, settings)
    assert made.read(), f"the run has deployed no InferenceService: {first_run.failed() or first_run.state()}"
    return made


@pytest.fixture
def character(suite: Suite) -> Path:
    """A character that no training has seen."""
    path = suite.folder / "character.json"
    path.write_text(_CHARACTER.read_text(encoding="utf-8"), encoding="utf-8")
    return path


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


def test_answer(suite: Suite, service: Service, character: Path) -> None:
    """The champion answers as a character, through one address that outlives its versions."""
    service.until_ready()
    with port_forward(suite.namespace, f"svc/{suite.id}:80") as address:
        words = ("chat", "--character", str(character), "--url", f"http://{address}/openai/v1", "--message", _QUESTION)
        done = suite.opencharacter(*words, seconds=180).expect()
    assert done.out.strip(), "an empty answer"
    assert "<|im_" not in done.out, done.out


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
    after = suite.until_available(suite.namespace, service.predictor(), seconds=_READY_S)
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
    """deploy fails, with KServe's reason, where no runtime speaks the protocol."""
    done = service.deploy(f"models:/{suite.id}@champion", namespace=other_protocol, seconds=300)
    assert done.code == 1, done.said
    assert "protocol" in done.said.lower() or "NoSupportingRuntime" in done.said, done.said


def test_too_long_a_name(suite: Suite, service: Service) -> None:
    """deploy refuses, before anything is made, a name for which KServe would make nothing."""
    name = f"{suite.id}-{'x' * 40}"
    done = service.deploy(f"models:/{suite.id}@champion", f"deploy.service_name={name}").expect(2)
    assert "too long" in done.said, done.said
    assert suite.kube.get(f"{SERVICES_OF_MODELS.format(suite.namespace)}/{name}") is None
