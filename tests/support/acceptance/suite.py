"""One session of the acceptance suite: its settings, its id, the cluster, and what it has started there."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from support.acceptance import workflows
from support.acceptance.kube import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    PODS,
    SERVICES_OF_MODELS,
    WORKFLOWS,
    Kube,
    Object,
    condition,
)
from support.acceptance.ledger import Ledger
from support.acceptance.programs import Ended, opencharacter_program, run_program
from support.acceptance.settings import Settings
from support.acceptance.waiting import Deadline

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "opencharacter"

_CLI_S = 300.0


def new_id() -> str:
    """A session's id: short, since names of served models and their namespaces share 63 characters."""
    return f"oct-{secrets.token_hex(3)}"


@dataclass
class Run:
    """A pipeline run that the session has submitted."""

    suite: "Suite"
    id: str
    submitted: Ended

    @property
    def workflow(self) -> Object | None:
        """Its Argo Workflow, while there is one."""
        found = self.suite.kube.find(WORKFLOWS.format(self.suite.namespace), labels=f"{workflows.RUN_LABEL}={self.id}")
        return found[0] if found else None

    def pods(self, step: str) -> list[Object]:
        """The pods of a step that are still there, oldest first."""
        workflow = self.workflow
        if workflow is None:
            return []
        label = f"{workflows.WORKFLOW_LABEL}={workflow['metadata']['name']}"
        pods = self.suite.kube.find(PODS.format(self.suite.namespace), labels=label)
        pods = [pod for pod in pods if workflows.pod_step(pod) == step]
        return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))

    def running_pod(self, step: str) -> Object | None:
        """The newest pod of a step whose own container runs."""
        for pod in reversed(self.pods(step)):
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                if status["name"] == workflows.MAIN and (status.get("state") or {}).get("running"):
                    return pod
        return None

    def attempts(self, step: str) -> list[Object]:
        """Argo's nodes of a step's pods; a deleted pod's too."""
        return workflows.attempts(self.workflow or {}, step)

    def log(self, pod: Object) -> str:
        """What the step in a pod has said."""
        return self.suite.kube.log(self.suite.namespace, pod["metadata"]["name"], workflows.MAIN)

    def state(self) -> str:
        """In a line: how far it is."""
        workflow = self.workflow
        if workflow is None:
            return "no Workflow yet"
        running = sorted(
            {
                str(workflows.step_of(str(node.get("name"))))
                for node in workflows.nodes_of(workflow)
                if node.get("type") == "Pod" and node.get("phase") in ("Running", "Pending")
            }
            - {"None"}
        )
        return f"{workflows.phase(workflow) or 'no phase'}; running: {', '.join(running) or 'a driver'}"

    def failed(self) -> str | None:
        """Why it will not go on, if it has failed."""
        workflow = self.workflow
        if workflow is None or workflows.phase(workflow) not in ("Failed", "Error"):
            return None
        told = "; ".join(workflows.failures(workflow))
        return (
            f"the run has {workflows.phase(workflow).lower()}: {told or (workflow.get('status') or {}).get('message')}"
        )

    def until_step_ended(self, step: str, *, seconds: float, count: int = 1) -> list[Object]:
        """Waits until so many pods of a step have succeeded; fails when the run does."""

        def ended() -> list[Object]:
            good = [node for node in self.attempts(step) if node.get("phase") == "Succeeded"]
            return good if len(good) >= count else []

        return self.suite.deadline.until(
            f"step {step} of run {self.id} ends", ended, seconds=seconds, state=self.state, give_up=self.failed
        )

    def until_step_runs(self, step: str, *, seconds: float) -> Object:
        """Waits until a pod of a step runs; fails when the run does."""
        found = self.suite.deadline.until(
            f"step {step} of run {self.id} runs",
            lambda: self.running_pod(step),
            seconds=seconds,
            state=self.state,
            give_up=self.failed,
        )
        assert found is not None
        return found

    def until_over(self, *, seconds: float) -> str:
        """Waits for the end; returns the phase."""
        self.suite.deadline.until(
            f"run {self.id} ends", lambda: workflows.is_over(self.workflow), seconds=seconds, state=self.state
        )
        return workflows.phase(self.workflow)


@dataclass
class Suite:
    """A session."""

    settings: Settings
    kube: Kube
    ledger: Ledger
    deadline: Deadline
    folder: Path
    id: str
    local_s3: str | None = None
    """The object store as this machine reaches it; none: AWS."""
    kfp_host: str | None = None
    runs: list[Run] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    pods_seen: dict[str, Object] = field(default_factory=dict)
    """Pods of servers and trainings, which may be gone when Pod Security is looked at."""
    _submits: bool = False

    @property
    def namespace(self) -> str:
        """Where the runs are."""
        assert self.settings.namespace, "a test that needs the namespace says so with needs('cluster')"
        return self.settings.namespace

    @property
    def prefix(self) -> str:
        """The session's own prefix in the bucket."""
        return f"{str(self.settings.workspace).rstrip('/')}/{self.id}"

    @property
    def pod_s3(self) -> str | None:
        """The object store as pods reach it; none: AWS."""
        found = self.settings.s3_endpoint
        if found is None and self.settings.s3_service:  # AWS_ENDPOINT_URL is the forwarded port of this machine
            name, port = self.settings.s3_service.removeprefix("svc/").split(":")
            found = f"http://{name}.{self.namespace}:{port}"
        found = found or os.environ.get("AWS_ENDPOINT_URL")
        return found.rstrip("/") if found else None

    @property
    def region(self) -> str:
        """Of the bucket."""
        return os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or "us-east-1"

    @cached_property
    def environment(self) -> dict[str, str]:
        """What the command line gets besides this process's environment."""
        variables = {"AWS_DEFAULT_REGION": self.region}
        if self.local_s3:
            variables["AWS_ENDPOINT_URL"] = self.local_s3
        return variables

    @cached_property
    def images(self) -> dict[str, Any]:
        """The section `images` of a cluster file."""
        return {**self.settings.image_values(), "pull_policy": self.settings.pull_policy}

    def image(self, name: str) -> str:
        """The reference of one of our images."""
        from opencharacter.cluster.spec import Images

        return Images.model_validate(self.images).reference(name)  # type: ignore[arg-type]

    def opencharacter(
        self, *words: str, seconds: float = _CLI_S, environment: Mapping[str, str] | None = None
    ) -> Ended:
        """Run our command line."""
        variables = self.environment | dict(environment or {})
        return run_program(opencharacter_program(), *words, seconds=seconds, environment=variables)

    def helm(self, *words: str, seconds: float = _CLI_S) -> Ended:
        """Run helm."""
        return run_program("helm", *words, seconds=seconds)

    def kubectl(self, *words: str, seconds: float = 60.0) -> Ended:
        """Run kubectl."""
        return run_program("kubectl", *words, seconds=seconds)

    def write(self, name: str, document: Any) -> Path:
        """A YAML file of the session."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path

    def submit(self, cluster_file: Path, *settings: str, workspace: str) -> Run:
        """Submit the preset `demo`, changed by `KEY=VALUE` settings; the run is deleted at the end."""
        words = ["pipeline", "submit", "--preset", "demo", "--cluster", str(cluster_file), "--workspace", workspace]
        words += [word for setting in settings for word in ("--set", setting)]
        self.will_submit()
        done = self.opencharacter(*words, "--host", str(self.kfp_host)).expect()
        return self.adopt(done)

    def will_submit(self) -> None:
        """Have the session's experiment deleted at the end, with runs of a submission that was broken off."""
        if not self._submits:
            self._submits = True
            self.ledger.will_undo(f"experiment {self.id}", self._delete_experiment)

    def adopt(self, submitted: Ended) -> Run:
        """The run that a submission has started, deleted at the end."""
        first = next((line for line in submitted.out.splitlines() if line.startswith("run ")), None)
        assert first, f"no line 'run ID' in what submit said:\n{submitted.said}"
        run = Run(self, first.split()[1], submitted)
        self.runs.append(run)
        self.ledger.will_undo(f"run {run.id}", lambda: self.delete_run(run))
        return run

    def _delete_experiment(self) -> None:
        """Delete the experiment that is called after the session, and what runs are left in it."""
        shared = self._kfp.get_kfp_healthz().multi_user  # a server for one user refuses a namespace
        try:
            found = self._kfp.get_experiment(experiment_name=self.id, namespace=self.namespace if shared else None)
        except ValueError:  # there is none
            return
        for each in self._kfp.list_runs(experiment_id=found.experiment_id, page_size=100).runs or []:
            self.delete_run(Run(self, str(each.run_id), Ended("", 0, "", "")))
        self._kfp.delete_experiment(found.experiment_id)

    def delete_run(self, run: Run) -> None:
        """Delete a run from KFP, and its Workflow with all that it owns."""
        try:
            self._kfp.delete_run(run.id)
        finally:
            workflow = run.workflow
            if workflow is not None:
                self.kube.delete(f"{WORKFLOWS.format(self.namespace)}/{workflow['metadata']['name']}")

    def kfp_state(self, run: Run) -> str:
        """What KFP says of a run: PENDING, RUNNING, SUCCEEDED, FAILED, CANCELED, …."""
        return str(self._kfp.get_run(run.id).state)

    def terminate(self, run: Run) -> None:
        """End a run that has served its purpose."""
        self._kfp.terminate_run(run.id)

    @cached_property
    def _kfp(self) -> Any:
        import kfp

        return kfp.Client(host=self.kfp_host, existing_token=os.environ.get("KF_PIPELINES_TOKEN"))

    def saw(self, pods: list[Object]) -> None:
        """Keep what pods were."""
        self.pods_seen |= {pod["metadata"]["uid"]: pod for pod in pods}

    def release_service(self) -> None:
        """Delete the session's InferenceService, to have its memory for something else."""
        self.kube.delete(f"{SERVICES_OF_MODELS.format(self.namespace)}/{self.id}")

    def retry_rules(self) -> Any:
        """What the cluster tries again, as preflight reads it from the ConfigMap of Argo's controller."""
        from opencharacter.cluster.workflow_defaults import retry_rules

        for namespace in (self.namespace, "kubeflow"):
            if found := self.kube.get(f"{CONFIG_MAPS.format(namespace)}/workflow-controller-configmap"):
                return retry_rules(found)
        raise AssertionError(f"no workflow-controller-configmap in {self.namespace} or kubeflow")

    def until_available(self, namespace: str, deployment: str, *, seconds: float = 300.0) -> Object:
        """Waits until a Deployment has the pods that it should have, all of the newest kind."""
        path = f"{DEPLOYMENTS.format(namespace)}/{deployment}"

        def available() -> Object | None:
            found = self.kube.get(path)
            return found if found and is_rolled_out(found) else None

        made = self.deadline.until(
            f"Deployment {namespace}/{deployment} is rolled out",
            available,
            seconds=seconds,
            state=lambda: str((condition(self.kube.get(path), "Progressing") or {}).get("message", "not there yet")),
        )
        assert made is not None
        return made


def is_rolled_out(deployment: Object) -> bool:
    """As `kubectl rollout status` decides it."""
    wanted = (deployment.get("spec") or {}).get("replicas", 1)
    status = deployment.get("status") or {}
    return (
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )
