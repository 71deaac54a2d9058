"""The service follows the alias: a real MLflow server, and the stand-in of a cluster with KServe."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from support.kserve_cluster import NAMESPACE, KServeCluster, completion

from opencharacter.hashing import digest
from opencharacter.promoter import PromoterConfig
from opencharacter.promoter.follower import Follower, Interrupted
from opencharacter.promoter.metrics import Metrics

SERVICE = "bard"


class Stage:
    """A registered model with versions, the cluster, and a promoter that follows `champion`; no time passes."""

    def __init__(self, client: MlflowClient, model: str, kserve: KServeCluster) -> None:
        self.client, self.model, self.kserve = client, model, kserve
        self.time = 1_800_000_000.0
        self.lines: list[str] = []
        self.on_wait: Callable[[], bool] = lambda: False
        self.settings: dict[str, Any] = {}
        self.deploy: dict[str, Any] = {"service_name": SERVICE, "gpus": 0}
        client.create_registered_model(model)
        self.start()

    def start(self) -> None:
        """A new process."""
        config = PromoterConfig.model_validate(
            {"models": [{"model": self.model, "deploy": self.deploy}], "poll_s": 10_000, "retry_s": 300} | self.settings
        )
        self.metrics = Metrics()
        self.follower = Follower(
            config.models[0],
            config,
            metrics=self.metrics,
            wait=self._wait,
            now=lambda: self.time,
            report=self.lines.append,
        )

    def _wait(self, seconds: float) -> bool:
        self.kserve.pause(seconds)
        return self.on_wait()

    def look(self) -> str:
        return self.follower.look().outcome

    def add(self, number: int, *, gate: dict[str, Any] | None = None, reason: str | None = "forced: a test") -> str:
        """A version, with or without a right to be served; returns where its weights are."""
        uri = f"s3://bucket/{self.model}/{number}"
        tags = {"weights_uri": uri, "weights_digest": str(number) * 64}
        tags |= {"gate": json.dumps(gate)} if gate else {}
        tags |= {"promotion_reason": reason} if reason else {}
        assert self.client.create_model_version(self.model, uri, tags=tags).version == str(number)
        return uri

    def wish(self, number: int) -> None:
        self.client.set_registered_model_alias(self.model, "champion", str(number))

    def record(self, number: int) -> dict[str, Any]:
        return json.loads(self.client.get_model_version(self.model, str(number)).tags.get("deployment", "{}"))

    def metric(self, name: str, **labels: str) -> float:
        labels = {"model": self.model, "service": SERVICE} | labels
        found = self.metrics._registry.get_sample_value(f"opencharacter_promoter_{name}", labels)
        return found or 0.0

    @property
    def served(self) -> set[str]:
        return self.kserve.models_behind(SERVICE)

    @property
    def events(self) -> list[str]:
        return self.kserve.records.reasons()


@pytest.fixture
def stage(mlflow_uri: str, kserve: KServeCluster, request: pytest.FixtureRequest) -> Stage:
    return Stage(MlflowClient(mlflow_uri), f"model-{digest(request.node.nodeid)[:12]}", kserve)


def passed(number: int, against: int | None = None) -> dict[str, Any]:
    return {
        "passed": True,
        "reason": "loss fell",
        "challenger_digest": str(number) * 64,
        "champion_digest": str(against) * 64 if against else None,
    }


def test_the_first_champion_is_deployed_and_the_next_takes_its_place(stage: Stage) -> None:
    first, second = stage.add(1, gate=passed(1), reason=None), stage.add(2, gate=passed(2, 1), reason=None)
    assert stage.look() == "no_alias"
    stage.wish(1)
    assert stage.look() == "serving"
    assert stage.served == {first}
    stage.wish(2)
    assert stage.look() == "serving"
    assert (stage.served, stage.kserve.gaps) == ({second}, [])
    assert stage.kserve.service(SERVICE)["metadata"]["annotations"]["opencharacter.io/model-version"] == "2"
    assert stage.events == ["RolloutStarted", "RolledOut"] * 2
    event = stage.kserve.records.events[-1]
    assert event["involvedObject"]["uid"] == f"uid-{SERVICE}"
    assert "version 2" in event["message"]
    assert (stage.record(1)["state"], stage.record(2)["state"]) == ("replaced", "serving")
    assert stage.record(2)["service"] == f"{NAMESPACE}/{SERVICE}"
    assert stage.metric("rollouts_total", outcome="served") == 2
    assert (stage.metric("desired_version"), stage.metric("served_version")) == (2, 2)
    assert stage.metric("last_reconcile_timestamp_seconds") == stage.time


def test_another_look_and_another_start_change_nothing(stage: Stage) -> None:
    stage.add(1)
    stage.wish(1)
    stage.look()
    applied, asked = len(stage.kserve.applied), len(stage.kserve.asked)
    assert [stage.look(), stage.look()] == ["serving", "serving"]
    assert len(stage.kserve.applied) == applied
    generation = stage.kserve.service(SERVICE)["metadata"]["generation"]
    stage.start()
    assert [stage.look(), stage.look()] == ["serving", "serving"]
    assert stage.kserve.service(SERVICE)["metadata"]["generation"] == generation
    assert len(stage.kserve.asked) == asked, "what serves is not asked again"
    assert stage.events == ["RolloutStarted", "RolledOut"]


def test_other_settings_are_applied_at_the_next_start(stage: Stage) -> None:
    stage.add(1)
    stage.wish(1)
    stage.look()
    stage.deploy["memory"] = "9Gi"
    stage.start()
    assert stage.look() == "serving"
    predictor = stage.kserve.service(SERVICE)["spec"]["predictor"]
    assert predictor["model"]["resources"]["limits"]["memory"] == "9Gi"


def test_a_rollback_is_the_alias_moved_back(stage: Stage) -> None:
    first, second = stage.add(1, gate=passed(1), reason="gate: loss fell"), stage.add(2, gate=passed(2, 1), reason=None)
    for number, uri in ((1, first), (2, second), (1, first)):
        stage.wish(number)
        assert stage.look() == "serving"
        assert stage.served == {uri}
    assert (stage.record(1)["state"], stage.record(2)["state"]) == ("serving", "replaced")
    assert stage.kserve.gaps == []


def test_a_version_without_a_gates_word_is_refused_once_and_served_when_it_comes(stage: Stage) -> None:
    first, second = stage.add(1), stage.add(2, reason=None)
    stage.wish(1)
    stage.look()
    stage.wish(2)
    applied = len(stage.kserve.applied)
    assert [stage.look() for _ in range(3)] == ["refused"] * 3
    assert (stage.served, len(stage.kserve.applied)) == ({first}, applied)
    assert stage.events[2:] == ["RolloutRefused"]
    assert stage.metric("rollouts_total", outcome="refused") == 1
    assert (stage.record(2)["state"], stage.record(2)["reason"]) == ("refused", "no gate has decided on it")
    stage.start()
    assert stage.look() == "refused"
    assert stage.events[2:] == ["RolloutRefused"], "a restart does not tell it again"
    stage.client.set_model_version_tag(stage.model, "2", "gate", json.dumps(passed(2, 1)))
    assert stage.look() == "serving"
    assert stage.served == {second}


def test_the_values_may_do_without_a_gate(stage: Stage) -> None:
    stage.settings["require_gate"] = False
    stage.start()
    uri = stage.add(1, reason=None)
    stage.wish(1)
    assert stage.look() == "serving"
    assert stage.served == {uri}


def bad_second_version(stage: Stage) -> tuple[str, str]:
    first, second = stage.add(1), stage.add(2)
    stage.wish(1)
    stage.look()
    stage.kserve.answers[second] = [completion("")]
    stage.wish(2)
    assert stage.look() == "failed"
    return first, second


def test_a_bad_answer_leaves_the_old_version_and_is_not_tried_again_at_once(stage: Stage) -> None:
    first, _ = bad_second_version(stage)
    assert (stage.served, stage.kserve.gaps) == ({first}, [])
    assert stage.events[2:] == ["RolloutStarted", "RolloutFailed"]
    record = stage.record(2)
    assert (record["state"], record["attempts"]) == ("failed", 1)
    assert "was asked" in record["reason"]
    assert stage.record(1)["state"] == "serving"
    asked = len(stage.kserve.asked)
    assert [stage.look(), stage.look()] == ["postponed", "postponed"]
    stage.start()
    assert stage.look() == "postponed", "the record survives a restart"
    assert len(stage.kserve.asked) == asked


def test_a_failed_version_is_tried_again_later_and_later(stage: Stage) -> None:
    _, second = bad_second_version(stage)
    for attempts, pause in ((2, 300), (3, 600), (4, 1200), (5, 2400), (6, 3600), (7, 3600)):
        stage.time += pause - 1
        assert stage.look() == "postponed"
        stage.time += 1
        assert stage.look() == "failed"
        assert stage.record(2)["attempts"] == attempts
    del stage.kserve.answers[second]
    stage.time += 3600
    assert stage.look() == "serving"
    assert (stage.served, stage.record(2)["attempts"]) == ({second}, 0)


@pytest.mark.parametrize("sign", ["tag", "alias", "settings"])
def test_a_failed_version_is_tried_at_once_where_somebody_asks_for_it(stage: Stage, sign: str) -> None:
    _, second = bad_second_version(stage)
    del stage.kserve.answers[second]
    if sign == "tag":
        stage.client.delete_model_version_tag(stage.model, "2", "deployment")
    if sign == "alias":
        stage.wish(1)
        assert stage.look() == "serving"
        stage.wish(2)
    if sign == "settings":
        stage.deploy["max_model_len"] = 1024
        stage.start()
    assert stage.look() == "serving"
    assert stage.served == {second}


def test_a_refusal_of_the_cluster_is_on_record_in_its_own_words(stage: Stage) -> None:
    stage.add(1)
    stage.kserve.denials.append(("inferenceservices", "only images of ours"))
    stage.wish(1)
    assert stage.look() == "refused"
    assert "only images of ours" in stage.record(1)["reason"]
    assert stage.look() == "postponed"


def test_a_first_deployment_that_failed_is_not_taken_for_served(stage: Stage) -> None:
    uri = stage.add(1)
    stage.kserve.answers[uri] = [completion("")]
    stage.wish(1)
    assert stage.look() == "failed"
    stage.start()
    assert stage.look() == "postponed"
    del stage.kserve.answers[uri]
    stage.time += 300
    assert stage.look() == "serving"
    assert stage.record(1)["state"] == "serving"


def test_without_the_alias_the_service_goes_on(stage: Stage) -> None:
    first = stage.add(1)
    stage.wish(1)
    stage.look()
    stage.client.delete_registered_model_alias(stage.model, "champion")
    assert [stage.look(), stage.look()] == ["no_alias", "no_alias"]
    assert stage.served == {first}
    assert stage.events[2:] == ["AliasMissing"]
    assert (stage.metric("desired_version"), stage.metric("served_version")) == (0, 1)


def test_a_rollout_that_is_cut_off_goes_on_in_the_next_process(stage: Stage) -> None:
    stage.add(1)
    second = stage.add(2)
    stage.wish(1)
    stage.look()
    stage.wish(2)

    def end() -> bool:
        raise Interrupted

    stage.on_wait = end
    with pytest.raises(Interrupted):
        stage.look()
    assert stage.kserve.service(SERVICE)["spec"]["canary"]
    stage.on_wait = lambda: False
    stage.start()
    assert stage.look() == "serving"
    assert (stage.served, stage.kserve.gaps) == ({second}, [])


@pytest.mark.parametrize("same_process", [True, False])
def test_an_alias_that_moves_back_ends_the_rollout(stage: Stage, same_process: bool) -> None:
    first, second = stage.add(1), stage.add(2)
    stage.wish(1)
    stage.look()
    stage.kserve.obstacles[second] = {}
    stage.wish(2)

    def back() -> bool:
        stage.wish(1)
        return True

    stage.on_wait = back
    with pytest.raises(Interrupted):
        stage.look()
    stage.on_wait = lambda: False
    if not same_process:
        stage.start()
    assert stage.look() == "serving"
    assert not stage.kserve.service(SERVICE)["spec"].get("canary")
    assert (stage.served, stage.kserve.gaps) == ({first}, [])


@pytest.mark.parametrize("same_process", [True, False])
def test_a_rollout_that_a_refused_version_cuts_off_leaves_nothing_behind(stage: Stage, same_process: bool) -> None:
    first, second = stage.add(1), stage.add(2)
    stage.add(3, reason=None)
    stage.wish(1)
    stage.look()
    stage.kserve.obstacles[second] = {}
    stage.wish(2)

    def on() -> bool:
        stage.wish(3)
        return True

    stage.on_wait = on
    with pytest.raises(Interrupted):
        stage.look()
    assert stage.kserve.service(SERVICE)["spec"]["canary"]
    stage.on_wait = lambda: False
    if not same_process:
        stage.start()
    assert stage.look() == "refused"
    assert not stage.kserve.service(SERVICE)["spec"].get("canary")
    applied = len(stage.kserve.applied)
    assert stage.look() == "refused"
    assert (stage.served, len(stage.kserve.applied)) == ({first}, applied)


def test_a_registry_that_is_away_is_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stage.add(1)
    stage.wish(1)
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        away.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        lines = len(stage.lines)
        assert [stage.look(), stage.look()] == ["unreachable", "unreachable"]
        assert len(stage.lines) == lines + 1, "one line, not one each time"
    assert stage.metric("failures_total", what="registry") == 2
    assert stage.look() == "serving"
    assert stage.served == {first}


def test_a_registry_that_goes_away_in_a_rollout_gets_its_record_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stage.add(1)
    stage.wish(1)
    with monkeypatch.context() as away:

        def leave() -> bool:
            away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
            away.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            return True

        stage.on_wait = leave
        assert stage.look() == "serving"
    assert stage.served == {first}
    assert stage.record(1) == {}
    assert stage.look() == "serving"
    assert stage.record(1)["state"] == "serving"


def test_a_registry_that_takes_no_records_is_followed_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MLflow answers an account that may read only."""
    first, second = stage.add(1), stage.add(2)
    stage.add(3, reason=None)

    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("Permission denied", PERMISSION_DENIED)

    monkeypatch.setattr(MlflowClient, "set_model_version_tag", refuse)
    stage.kserve.answers[second] = [completion("")]
    stage.wish(1)
    assert [stage.look(), stage.look()] == ["serving", "serving"]
    stage.wish(2)
    assert [stage.look() for _ in range(3)] == ["failed", "postponed", "postponed"]
    assert stage.served == {first}
    stage.wish(3)
    assert [stage.look(), stage.look()] == ["refused", "refused"]
    assert stage.events[2:] == ["RolloutStarted", "RolloutFailed", "RolloutRefused"]
    assert sum("Permission denied" in line for line in stage.lines) == 1


def test_a_reason_that_is_longer_than_a_tag_is_on_record_as_far_as_it_goes(stage: Stage) -> None:
    stage.add(1)
    stage.kserve.denials.append(("inferenceservices", "only images of ours " * 10_000))
    stage.wish(1)
    assert [stage.look(), stage.look()] == ["refused", "postponed"]
    assert "only images of ours" in stage.record(1)["reason"]


def test_a_version_that_only_gives_errors_has_failed(stage: Stage) -> None:
    first, second = stage.add(1), stage.add(2)
    stage.wish(1)
    stage.look()
    stage.kserve.answers[second] = [502]
    stage.wish(2)
    assert [stage.look(), stage.look()] == ["failed", "postponed"]
    assert (stage.served, stage.record(2)["state"]) == ({first}, "failed")


def test_a_cluster_that_is_away_is_waited_for(stage: Stage) -> None:
    first = stage.add(1)
    stage.wish(1)
    stage.kserve.outages += [503] * 9
    assert stage.look() == "unreachable"
    assert stage.metric("failures_total", what="cluster") == 1
    assert stage.record(1) == {}, "the version is not to blame"
    assert stage.look() == "serving"
    assert stage.served == {first}
