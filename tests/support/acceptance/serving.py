"""The InferenceService of a session, and the command that brings it to a version."""

from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from support.acceptance.kube import PODS, SERVICES_OF_MODELS, Object, conditions, is_true
from support.acceptance.programs import Ended, port_forward
from support.acceptance.releases import Release
from support.acceptance.suite import Suite

READY_S = 420.0
CHARACTER = resources.files("opencharacter.data") / "demo" / "character.json"
QUESTION = "What would you tell your younger self?"


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

    def run(self, *words: str, seconds: float = READY_S) -> Ended:
        """A command of ours that talks to the registry."""
        return self.suite.opencharacter(*words, environment=self._environment, seconds=seconds)

    def deploy(self, model: str, *more: str, namespace: str | None = None) -> Ended:
        """`opencharacter deploy` of a version or an alias, with the run's own settings.

        `more` are `KEY=VALUE` settings over them, and options.
        """
        settings = [*self._settings, f"deploy.namespace={namespace or self.suite.namespace}"]
        settings += [each for each in more if not each.startswith("--")]
        words = [word for setting in settings for word in ("--set", setting)]
        options = [each for each in more if each.startswith("--")]
        return self.run("deploy", "--model", model, "--preset", "demo", *words, *options, seconds=2 * READY_S)

    def promote(self, version: str) -> None:
        """Move the alias, as a release owner does who has a reason."""
        reason = ("--force", "--reason", "the acceptance suite moves it")
        self.run("promote", "--model", self.suite.id, "--version", version, *reason).expect()

    def section(self) -> dict[str, Any]:
        """The section `deploy` of the run's configuration, with its namespace."""
        named = [setting.removeprefix("deploy.").split("=", 1) for setting in self._settings if "deploy." in setting]
        section = {key: yaml.safe_load(value) for key, value in named}
        texts = {key: str(section[key]) for key in ("cpu", "memory") if key in section}
        return section | texts | {"namespace": self.suite.namespace}

    def ask(self, character: Path) -> str:
        """What the champion answers a character's question, through the one address."""
        with port_forward(self.suite.namespace, f"svc/{self.suite.id}:80") as address:
            words = ("--character", str(character), "--base-url", f"http://{address}/openai/v1", "--message", QUESTION)
            return self.run("chat", *words).expect().out.strip()

    def predictor(self) -> str:
        """Name of the Deployment that serves now."""
        name = ((self.read() or {}).get("spec", {}).get("predictor") or {}).get("name")
        return f"{self.suite.id}-{name}-predictor" if name else f"{self.suite.id}-predictor"

    def until_version(self, version: str) -> Object:
        """Waits until a version is the one in service, and ready."""

        def serves() -> str:
            annotations = (self.read() or {}).get("metadata", {}).get("annotations") or {}
            return str(annotations.get("opencharacter.io/model-version"))

        self.suite.deadline.until(
            f"version {version} is in service",
            lambda: serves() == version and not (self.read() or {}).get("spec", {}).get("canary"),
            seconds=READY_S,
            state=lambda: f"version {serves()}; {conditions(self.read())}",
        )
        return self.until_ready()

    def until_ready(self) -> Object:
        """Waits for KServe's own word and for the pods of the newest kind."""
        found = self.suite.deadline.until(
            f"InferenceService {self.suite.id} is Ready",
            lambda: is_true(self.read(), "Ready") and self.read(),
            seconds=READY_S,
            state=lambda: f"{conditions(self.read())}; {((self.read() or {}).get('status') or {}).get('modelStatus')}",
        )
        self.suite.until_available(self.suite.namespace, self.predictor(), seconds=READY_S)
        assert isinstance(found, dict)
        label = f"serving.kserve.io/inferenceservice={self.suite.id}"
        self.suite.saw(self.suite.kube.find(PODS.format(self.suite.namespace), labels=label))
        return found
