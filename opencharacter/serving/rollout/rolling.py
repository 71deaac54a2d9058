"""Bring an InferenceService to a version of a model: `roll_out`, which the command, the step and the promoter call.

Another model replaces the one in service in these steps, each of which an interrupted call can be continued from:
its canary starts dark, is waited for and asked; the stable address moves to its pods; it takes over `predictor.name`,
on which KServe drains the old pods and leaves the new ones alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.kube import cluster_client, cluster_namespace, in_pod
from opencharacter.serving.deploy_config import DeployConfig
from opencharacter.serving.manifest import UNKNOWN, DeployableModel, deployment_manifest
from opencharacter.serving.names import next_predictor, predictor_service, too_long
from opencharacter.serving.rollout.address import address_of, address_service, is_ours
from opencharacter.serving.rollout.api import RIGHTS_HINT, Namespace, Refusal
from opencharacter.serving.rollout.canary import alone, beside, canaries_of, dark_digest, scaling_of, storage_of
from opencharacter.serving.rollout.outcome import Rollout, RolloutFailed, RolloutRefused, ServedVersion
from opencharacter.serving.rollout.readiness import Waiting, deletion_of, pods_digest
from opencharacter.serving.rollout.selection import HINT, select_runtime
from opencharacter.serving.rollout.smoke import BUILT_IN, SMOKE_TAG, SmokeQuestion, ask

Object = dict[str, Any]

_SETTLE_S = 5.0


def _silent(_: str) -> None: ...


def sleep(seconds: float) -> None:
    """What passes the time of a rollout that is given no `pause`."""
    time.sleep(seconds)


def roll_out(
    config: DeployConfig,
    model: DeployableModel,
    *,
    wait: bool = True,
    report: Callable[[str], None] = _silent,
    question: SmokeQuestion | None = None,
    timeout_s: float | None = None,
    pause: Callable[[float], None] | None = None,
) -> Rollout:
    """Bring the InferenceService to `model`, and wait until it serves and has answered a question.

    Args:
        config: what is deployed, and where.
        model: the version.
        wait: false applies it as an ordinary rolling update, and leaves it to the cluster.
        report: gets a text for each change of what is waited for.
        question: none for the one in the model's tag `smoke_question`, or else a built-in one.
        timeout_s: for pods to be ready; none for `config.ready_seconds`.
        pause: waits so many seconds; none for `time.sleep`.

    Raises:
        UserError: the cluster can't fetch the weights, or no cluster is configured.
        RolloutRefused: it can't begin; nothing has changed.
        RolloutFailed: the version did not come into service; the one before, if any, still serves.
    """
    pause, name = pause or sleep, config.namespace or cluster_namespace()
    config = config.model_copy(update={"apply": True, "namespace": name})
    if problem := too_long(config.service_name, name, model.version):
        raise RolloutRefused(problem, reason="name-too-long", hint="set deploy.service_name")
    asked = question or (SmokeQuestion.from_tag(model.tags[SMOKE_TAG]) if SMOKE_TAG in model.tags else BUILT_IN)
    with cluster_client("deploy") as connection:
        namespace = Namespace(connection, name, pause)
        timeout = config.ready_seconds if timeout_s is None else timeout_s
        waiting = Waiting(namespace, config.service_name, report, pause, timeout) if wait else None
        try:
            return _Rolling(namespace, config, model, asked, report, pause, waiting).run()
        except Refusal as refusal:
            raise RolloutFailed(str(refusal), reason=refusal.reason, hint=refusal.error.hint) from refusal
        except (UserError, RolloutFailed):
            raise
        except OpenCharacterError as error:
            raise RolloutFailed(str(error), reason="cluster", hint=error.hint) from error


def served_version(name: str, namespace: str | None = None) -> ServedVersion | None:
    """The version that an InferenceService serves; none if there is no such service, or it says none.

    While a next version is brought in, it is still the one before. Raises `UserError` and `OpenCharacterError`.
    """
    with cluster_client("deploy") as connection:
        try:
            service = Namespace(connection, namespace or cluster_namespace(), sleep).inference_service(name)
        except Refusal as refusal:
            raise refusal.error from refusal
    annotated = {
        key: ((service or {}).get("metadata", {}).get("annotations") or {}).get(f"opencharacter.io/model-{key}")
        for key in ("name", "version", "digest")
    }
    if service is None or not annotated["version"]:
        return None
    digest = "" if annotated["digest"] == UNKNOWN else str(annotated["digest"])
    return ServedVersion(str(annotated["name"]), int(annotated["version"]), digest, _current(service))


@dataclass
class _Rolling:
    """One call of `roll_out`."""

    namespace: Namespace
    config: DeployConfig
    model: DeployableModel
    question: SmokeQuestion
    report: Callable[[str], None]
    pause: Callable[[float], None]
    waiting: Waiting | None

    def run(self) -> Rollout:
        manifest = deployment_manifest(self.config, self.model)
        try:
            live = self.namespace.inference_service(self.config.service_name)
            replicas = self._look_around(live, manifest)
        except Refusal as refusal:
            raise _refused(refusal) from refusal
        if live and self.waiting and storage_of(live["spec"]["predictor"]) != storage_of(manifest["spec"]["predictor"]):
            return self._replace(live, self.waiting, replicas)
        return self._apply(live)

    def _look_around(self, live: Object | None, manifest: Object) -> int:
        """Find out beforehand what would fail later. Returns how many pods the current version has."""
        name, here = self.config.service_name, self.namespace.name
        if live and (lost := deletion_of(live)):
            raise RolloutRefused(
                f"InferenceService {here}/{name} {lost}", reason="cluster", hint="deploy again when it is gone"
            )
        address = self.namespace.service(name)
        if address and not is_ours(address):
            raise RolloutRefused(
                f"namespace {here} has a Service '{name}' that opencharacter did not make: it would be the address",
                reason="refused",
                hint="set deploy.service_name to another name",
            )
        self._check_rights()
        self._check_runtime(manifest["spec"]["predictor"]["model"])
        if self.waiting is None:
            return 1
        deployment = self.namespace.deployment(predictor_service(name, _current(live)))
        return int((deployment or {}).get("spec", {}).get("replicas", 1))

    def _check_rights(self) -> None:
        """The rights that are needed late: it would be a pity to load a model first."""
        permissions = [("create", "services", ""), ("patch", "services", "")]
        if self.waiting and not in_pod():
            permissions.append(("create", "services", "proxy"))
        for verb, resource, part in permissions:
            if not self.namespace.may(verb, resource, part):
                asks = part == "proxy"
                raise RolloutRefused(
                    f"this account has no right to {verb} {resource}{'/proxy' if asks else ''} in namespace "
                    f"{self.namespace.name}, by which {'the model is asked' if asks else 'the address is set'}",
                    reason="refused",
                    hint="grant it, or deploy with --no-wait" if asks else RIGHTS_HINT,
                )

    def _check_runtime(self, model: Object) -> None:
        try:
            selection = select_runtime(model, self.namespace.runtimes())
            if selection.name is None:
                selection = select_runtime(model, self.namespace.runtimes(), self.namespace.cluster_runtimes())
        except Refusal as refusal:
            self.report(f"which ServingRuntime KServe will select can't be known beforehand: {refusal}")
            return
        if selection.name is None:
            explanation = selection.explain(model)
            raise RolloutRefused(f"namespace {self.namespace.name}: {explanation}", reason="no-runtime", hint=HINT)

    def _apply(self, live: Object | None) -> Rollout:
        """Deploy for the first time, or change settings: Kubernetes' own rolling update, if the pods change at all."""
        current = _current(live)
        manifest = deployment_manifest(self.config, self.model, predictor_name=current)
        if live and canaries_of(live):
            self.report("a rollout that was interrupted is taken back: this version is the one in service")
            self._point(live, current)
            manifest["spec"]["canary"] = []
        try:
            applied = self.namespace.apply_inference_service(manifest)
        except Refusal as refusal:
            raise _refused(refusal) from refusal
        self._point(applied, current)
        if self.waiting:
            self.waiting.until_ready(current, pods_digest(manifest), self.config.min_replicas)
            self._ask(current)
        return self._outcome(current, changed=live is None or _differ(live, applied))

    def _replace(self, live: Object, waiting: Waiting, replicas: int) -> Rollout:
        """Bring the model in beside the one in service, and let it take over."""
        current = _current(live)
        name = next_predictor(self.model.version, current)
        manifest = deployment_manifest(self.config, self.model, predictor_name=name)
        digest, scaling = dark_digest(live, manifest), scaling_of(live)
        most = self.config.canary_replicas or max(replicas, self.config.min_replicas)
        # A call that was interrupted between the move of the address and the take-over may have left it elsewhere.
        self._point(live, current)
        self.report(f"version {self.model.version} starts as {predictor_service(self._service, name)}, without traffic")
        try:
            pods = self._start(live, manifest, most)
        except Refusal as refusal:
            raise _refused(refusal) from refusal
        try:
            waiting.until_ready(name, digest, pods)
            self._ask(name)
            if pods < most:
                self._beside(live, manifest, pods=most)
                waiting.until_ready(name, digest, most)
            if self.config.canary_percent:
                self.report(f"{self.config.canary_percent} % of the traffic for {self.config.canary_seconds} s")
                self._beside(live, manifest, pods=most, percent=self.config.canary_percent)
                waiting.hold(name, digest, most, self.config.canary_seconds)
            self._point(live, name)
            # The old pods go as soon as KServe sees the change; the address must lead to the new ones before.
            self.pause(_SETTLE_S)
            self.namespace.apply_inference_service(manifest | {"spec": manifest["spec"] | {"canary": []}})
        except (Refusal, RolloutFailed) as error:
            self._take_back(live, current, name, scaling)
            if isinstance(error, Refusal):
                raise RolloutFailed(str(error), reason=error.reason, hint=error.error.hint) from error
            raise
        self.report(f"version {self.model.version} takes over")
        waiting.until_ready(name, pods_digest(manifest), self.config.min_replicas)
        self.namespace.delete_scaler(predictor_service(self._service, current))
        return self._outcome(name, changed=True)

    def _start(self, live: Object, manifest: Object, most: int) -> int:
        """Start the canary with one pod, or go on with the pods that an interrupted call has left."""
        name = manifest["spec"]["predictor"]["name"]
        begun = [each for each in canaries_of(live) if each["name"] == name]
        pods = min(max((int(each.get("minReplicas", 1)) for each in begun), default=1), most)
        self._beside(live, manifest, pods=pods)
        return pods

    def _beside(self, live: Object, manifest: Object, *, pods: int, percent: int = 0) -> None:
        change = beside(live, manifest, pods=pods, percent=percent)
        self.namespace.change_inference_service(self._service, change)

    def _take_back(self, live: Object, current: str, name: str, scaling: tuple[int, int]) -> None:
        """Leave the version before as it was."""
        self.report(f"version {self.model.version} is taken back: the one before stays")
        try:
            self._point(live, current)
            self.namespace.change_inference_service(self._service, alone(scaling))
            self.namespace.delete_scaler(predictor_service(self._service, name))
        except (Refusal, OpenCharacterError) as error:
            self.report(f"it could not be taken away, and stays without traffic: {error}")

    def _ask(self, predictor: str) -> None:
        target = predictor_service(self._service, predictor)
        context = self.config.max_model_len
        question = self.question.fitting(context)
        self.report(f"{target} is ready; it is asked: {question.question}")
        answer = ask(self.namespace, target, self._service, question, self.pause, context=context)
        self.report(f"it answers: {answer}")

    def _point(self, owner: Object, predictor: str) -> None:
        try:
            self.namespace.apply_service(address_service(owner, predictor))
        except Refusal as refusal:
            raise RolloutFailed(
                f"the stable address {address_of(self._service, self.namespace.name)} can't be set: {refusal}",
                reason=refusal.reason,
                hint=refusal.error.hint,
            ) from refusal

    def _outcome(self, predictor: str, *, changed: bool) -> Rollout:
        address = address_of(self._service, self.namespace.name)
        return Rollout(self._service, self.namespace.name, predictor, self.model.version, changed, address)

    @property
    def _service(self) -> str:
        return self.config.service_name


def _current(service: Object | None) -> str:
    return str((service or {}).get("spec", {}).get("predictor", {}).get("name") or "")


def _differ(before: Object, after: Object) -> bool:
    """Whether an apply changed anything: the generation counts changes of the spec."""

    def said(service: Object) -> tuple[Any, ...]:
        metadata = service["metadata"]
        return metadata.get("generation"), metadata.get("labels"), metadata.get("annotations")

    return said(before) != said(after)


def _refused(refusal: Refusal) -> RolloutRefused:
    return RolloutRefused(str(refusal), reason=refusal.reason, hint=refusal.error.hint)
