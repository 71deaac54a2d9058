"""`roll_out` against the stand-in of a cluster with KServe, which follows the rules of KServe's source."""

import contextlib
from typing import Any

import pytest
from support import stand_in
from support.kserve_cluster import GOOD_ANSWER, NAMESPACE, KServeCluster, completion

from opencharacter.registry import RegisteredModel
from opencharacter.serving import DeployConfig, Rollout, RolloutFailed, RolloutRefused, roll_out, served_version
from opencharacter.serving.manifest import deployment_manifest
from opencharacter.serving.rollout.api import ROLLOUT_MANAGER, Namespace

CONFIG = DeployConfig(service_name="bard", namespace=NAMESPACE, gpus=0, ready_seconds=60)


def version(number: int, **changes: object) -> RegisteredModel:
    return RegisteredModel(
        name="bard", version=number, uri=f"s3://bucket/{number}", digest=str(number) * 64, tags={}
    ).model_copy(update=changes)


def bring(cluster: KServeCluster, number: int, config: DeployConfig = CONFIG, **options: object) -> Rollout:
    return roll_out(config, version(number), pause=cluster.pause, **options)  # type: ignore[arg-type]


def test_the_first_version_is_waited_for_and_asked(kserve: KServeCluster) -> None:
    rollout = bring(kserve, 1)
    assert rollout == Rollout("bard", NAMESPACE, "", 1, True, "http://bard.play")
    assert [service for service, _ in kserve.asked] == ["bard-predictor"]
    assert kserve.models_behind("bard") == {"s3://bucket/1"}
    served = served_version("bard", NAMESPACE)
    assert served is not None
    assert (served.model, served.version, served.digest, served.predictor) == ("bard", 1, "1" * 64, "")


def test_the_same_version_again_changes_nothing(kserve: KServeCluster) -> None:
    bring(kserve, 1)
    pods = [pod["metadata"]["uid"] for pod in kserve.pods]
    assert bring(kserve, 1).changed is False
    assert [pod["metadata"]["uid"] for pod in kserve.pods] == pods


def test_the_next_version_starts_dark_and_takes_over_without_a_restart(kserve: KServeCluster) -> None:
    bring(kserve, 1)
    seen: list[tuple[str, set[str]]] = []
    rollout = bring(kserve, 2, report=lambda text: seen.append((text, kserve.models_behind("bard"))))
    assert (rollout.predictor, rollout.version, rollout.changed) == ("v2", 2, True)
    assert kserve.asked[-1][0] == "bard-v2-predictor"
    # Until it had answered, all requests went to the version before.
    answered = next(number for number, (text, _) in enumerate(seen) if GOOD_ANSWER in text)
    assert {frozenset(models) for _, models in seen[: answered + 1]} == {frozenset({"s3://bucket/1"})}
    dark = next(body for _, manager, body in kserve.applied if manager == ROLLOUT_MANAGER)
    assert dark["spec"]["canary"][0]["trafficPercent"] == 0
    assert kserve.models_behind("bard") == {"s3://bucket/2"}
    (pod,) = [pod for pod in kserve.pods if pod["spec"]["storageUri"] == "s3://bucket/2"]
    asked_pod = pod["metadata"]["uid"]
    for _ in range(5):
        kserve.pause(0)
    assert [each["metadata"]["uid"] for each in kserve.pods] == [asked_pod]
    assert list(kserve.deployments) == ["bard-v2-predictor"]
    assert kserve.gaps == []
    served = served_version("bard")
    assert served is not None
    assert (served.version, served.predictor) == (2, "v2")


def test_definitions_without_a_schema_make_no_difference(kserve: KServeCluster) -> None:
    """KServe's `kserve-crd-minimal` makes `spec` atomic: an apply of a part of it would take the rest away."""
    kserve.minimal_definitions = True
    for number in (1, 2):
        bring(kserve, number)
    kserve.answers["s3://bucket/3"] = [completion("")]
    with pytest.raises(RolloutFailed, match="empty"):
        bring(kserve, 3)
    assert kserve.models_behind("bard") == {"s3://bucket/2"}
    assert kserve.gaps == []


def test_a_rollback_is_the_same_with_the_older_version(kserve: KServeCluster) -> None:
    for number in (1, 2, 1):
        rollout = bring(kserve, number)
    assert (rollout.predictor, kserve.models_behind("bard")) == ("v1", {"s3://bucket/1"})
    assert kserve.gaps == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (completion("  "), "empty"),
        (completion("\u200b"), "empty"),
        (completion("I am a clock", "length"), "was cut"),
        (completion("I am Odalys.<|im_end|>"), "'<|im_end|>'"),
        (completion("assistant\n\nI am Odalys."), "'assistant'"),
        ({"choices": [{"message": {"content": "I am"}}]}, "not a chat completion"),
        ({"choices": {"0": "I am"}}, "not a chat completion"),
        ("<html>welcome</html>", "not a chat completion"),
        (422, "422"),
        (500, "500"),
    ],
)
def test_a_bad_answer_leaves_the_version_before(kserve: KServeCluster, answer: object, told: str) -> None:
    bring(kserve, 1)
    before = kserve.service("bard")["spec"]
    kserve.answers["s3://bucket/2"] = [answer]  # type: ignore[list-item]
    with pytest.raises(RolloutFailed) as caught:
        bring(kserve, 2)
    assert caught.value.reason == "bad-answer"
    assert told in str(caught.value)
    for _ in range(5):
        kserve.pause(0)
    assert kserve.models_behind("bard") == {"s3://bucket/1"}
    assert kserve.service("bard")["spec"] == before | {"canary": []}
    assert (list(kserve.deployments), kserve.gaps) == (["bard-predictor"], [])
    served = served_version("bard")
    assert served is not None
    assert served.version == 1


def test_a_cut_answer_may_be_the_draw_and_is_asked_for_again(kserve: KServeCluster) -> None:
    kserve.answers["s3://bucket/1"] = [completion("I am", "length"), completion(GOOD_ANSWER)]
    bring(kserve, 1)
    assert [request["seed"] for _, request in kserve.asked] == [0, 1]


def test_ready_of_the_service_stays_true_while_a_version_comes_up_and_is_not_trusted(kserve: KServeCluster) -> None:
    bring(kserve, 1)
    kserve.obstacles["s3://bucket/2"] = {"conditions": []}
    with pytest.raises(RolloutFailed, match="bard-v2-predictor is not ready after 60 s: 0 of 1 new pods are ready"):
        bring(kserve, 2)
    ready = {each["type"]: each["status"] for each in kserve.service("bard")["status"]["conditions"]}
    assert ready["Ready"] == "True"
    assert kserve.models_behind("bard") == {"s3://bucket/1"}


def container(name: str, restarts: int = 0, **state: object) -> dict[str, object]:
    return {"name": name, "ready": False, "restartCount": restarts} | state


FAILED = {"terminated": {"exitCode": 1, "reason": "Error"}}
CRASHES = {"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}, "lastState": FAILED}
KILLED = {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes fit",
}
NO_IMAGE = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image oc/serving:9"}}}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"conditions": [UNSCHEDULABLE]}, ["Unschedulable: 0/3 nodes fit"]),
        ({"containerStatuses": [container("kserve-container", **NO_IMAGE)]}, ["ImagePullBackOff: no such image"]),
        (
            {"initContainerStatuses": [container("storage-initializer", 4, **CRASHES)]},
            ["storage-initializer: ended with exit code 1, 4 restarts", "| NoSuchKey: the weights are not there"],
        ),
        (
            {"containerStatuses": [container("kserve-container", 2, **CRASHES)]},
            ["kserve-container: ended with exit code 1", "| ValueError: No available memory for the cache blocks"],
        ),
        ({"containerStatuses": [container("kserve-container", **KILLED)]}, ["exit code 137 (OOMKilled)"]),
        ({"reason": "Evicted", "message": "node was low on resource: memory"}, ["Evicted: node was low on resource"]),
    ],
)
def test_what_blocks_the_pods_is_said_while_waiting_and_in_the_error(
    kserve: KServeCluster, status: dict[str, object], told: list[str]
) -> None:
    kserve.obstacles["s3://bucket/1"] = status
    kserve.logs = {
        "storage-initializer": "copying\nNoSuchKey: the weights are not there\n",
        "kserve-container": "INFO loading\nValueError: No available memory for the cache blocks\n",
    }
    reports: list[str] = []
    with pytest.raises(RolloutFailed) as caught:
        bring(kserve, 1, report=reports.append)
    for words in told:
        assert words in str(caught.value)
        assert any(words in text for text in reports)
    assert (caught.value.reason, len(reports)) == ("not-ready", len(set(reports)))


def test_pods_that_a_quota_refuses_are_told_of(kserve: KServeCluster) -> None:
    kserve.obstacles["s3://bucket/1"] = {}
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: gpus"}
    kserve.script[3] = lambda: kserve.deployments["bard-predictor"]["status"].update(conditions=[failure])
    with pytest.raises(RolloutFailed, match="pods can't be made: FailedCreate: exceeded quota: gpus"):
        bring(kserve, 1)


def test_an_account_that_may_not_look_at_pods_is_told_what_can_be_told(kserve: KServeCluster) -> None:
    kserve.forbidden = {("list", "pods"), ("get", "pods/log"), ("list", "servingruntimes")}
    reports: list[str] = []
    assert bring(kserve, 1, report=reports.append).version == 1
    assert sum("cannot list resource" in text and "what the pods say" in text for text in reports) == 1
    kserve.obstacles["s3://bucket/2"] = {"conditions": [UNSCHEDULABLE]}
    with pytest.raises(RolloutFailed, match="0 of 1 new pods are ready"):
        bring(kserve, 2)


def test_no_runtime_that_fits_is_found_out_before_anything_is_made(kserve: KServeCluster) -> None:
    kserve.runtimes[0]["spec"]["protocolVersions"] = ["v1"]
    with pytest.raises(RolloutRefused, match="opencharacter speaks protocol v1, not v2") as caught:
        bring(kserve, 1)
    assert (caught.value.reason, kserve.applied) == ("no-runtime", [])


def test_no_runtime_is_found_out_from_kserve_where_runtimes_cannot_be_listed(kserve: KServeCluster) -> None:
    kserve.runtimes, kserve.forbidden = [], {("list", "servingruntimes")}
    with pytest.raises(RolloutFailed, match="KServe: NoSupportingRuntime: No runtime found") as caught:
        bring(kserve, 1, CONFIG.model_copy(update={"ready_seconds": 1800}))
    assert caught.value.reason == "no-runtime"
    assert kserve.pauses < 20, "no time mends this"


def test_a_runtime_of_the_cluster_will_do(kserve: KServeCluster) -> None:
    kserve.runtimes, kserve.cluster_runtimes = [], kserve.runtimes
    assert bring(kserve, 1).version == 1


def test_a_denial_by_a_webhook_is_passed_on_in_its_own_words(kserve: KServeCluster) -> None:
    kserve.denials = [("inferenceservices/bard", "images must come from registry.example.com")]
    with pytest.raises(RolloutRefused, match=r"images must come from registry\.example\.com") as caught:
        bring(kserve, 1)
    assert caught.value.reason == "refused"
    assert "right" not in str(caught.value)


def test_a_missing_right_names_the_right(kserve: KServeCluster) -> None:
    kserve.forbidden = {("patch", "inferenceservices")}
    with pytest.raises(RolloutRefused, match='cannot patch resource "inferenceservices"') as caught:
        bring(kserve, 1)
    assert "Role opencharacter-pipeline" in (caught.value.hint or "")


def test_an_endpoint_with_keys_is_asked_with_the_key_of_the_environment(
    kserve: KServeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kserve.api_key = "oc-rollouts"
    with pytest.raises(RolloutFailed, match="invalid_api_key") as caught:
        bring(kserve, 1)
    assert "OPENCHARACTER_API_KEY" in (caught.value.hint or "")
    monkeypatch.setenv("OPENCHARACTER_API_KEY", "oc-rollouts")
    assert bring(kserve, 1).version == 1


def test_a_take_over_that_a_webhook_denies_leaves_the_version_before(kserve: KServeCluster) -> None:
    bring(kserve, 1)

    def deny_the_next() -> None:
        kserve.denials.append(("inferenceservices/bard", "frozen until Monday"))

    def on_answer(text: str) -> None:
        if GOOD_ANSWER in text:
            deny_the_next()

    with pytest.raises(RolloutFailed, match="frozen until Monday"):
        bring(kserve, 2, report=on_answer)
    kserve.pause(0)
    assert kserve.models_behind("bard") == {"s3://bucket/1"}
    assert list(kserve.deployments) == ["bard-predictor"]


def test_a_foreign_service_of_that_name_is_left_alone(kserve: KServeCluster) -> None:
    kserve.apply("services", "bard", "kubectl", {"metadata": {"name": "bard", "labels": {"app": "lute"}}})
    kserve.applied.clear()
    with pytest.raises(RolloutRefused, match="did not make"):
        bring(kserve, 1)
    assert kserve.applied == []


def test_a_name_that_kserve_can_make_nothing_of_is_refused_with_the_numbers(kserve: KServeCluster) -> None:
    config = CONFIG.model_copy(update={"service_name": "b" * 30, "namespace": "n" * 20})
    with pytest.raises(RolloutRefused, match=r"30 characters.*\(20\).*allows 63; make it 3 shorter") as caught:
        bring(kserve, 1, config)
    assert (caught.value.reason, kserve.applied) == ("name-too-long", [])


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the code under test runs after it."""


@pytest.mark.parametrize("changes", range(1, 6))
@pytest.mark.parametrize("then", [2, 1, 3])
def test_a_call_that_is_killed_is_continued_or_undone_by_the_next(
    kserve: KServeCluster, changes: int, then: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.model_copy(update={"min_replicas": 2})
    bring(kserve, 1, config)
    let_in, request = len(kserve.applied), Namespace._request

    def until_killed(*arguments: Any, **options: Any) -> Any:
        if len(kserve.applied) - let_in >= changes:
            raise Killed
        return request(*arguments, **options)

    monkeypatch.setattr(Namespace, "_request", until_killed)
    with contextlib.suppress(Killed):
        bring(kserve, 2, config)
    monkeypatch.setattr(Namespace, "_request", request)
    assert len(kserve.applied) - let_in == changes
    rollout = bring(kserve, then, config)
    for _ in range(6):
        kserve.pause(0)
    assert kserve.models_behind("bard") == {f"s3://bucket/{then}"}
    assert list(kserve.deployments) == [rollout.deployment]
    assert not kserve.service("bard")["spec"].get("canary")
    assert kserve.service("bard")["spec"]["predictor"]["minReplicas"] == 2
    assert len(kserve.pods) == 2
    assert kserve.gaps == []


def test_changed_settings_are_an_ordinary_rolling_update(kserve: KServeCluster) -> None:
    bring(kserve, 1)
    rollout = bring(kserve, 1, CONFIG.model_copy(update={"memory": "32Gi"}))
    assert (rollout.changed, rollout.predictor) == (True, "")
    (pod,) = kserve.pods
    assert pod["spec"]["model"]["resources"]["limits"]["memory"] == "32Gi"
    assert kserve.gaps == []


def test_settings_that_a_canary_cannot_carry_follow_as_a_rolling_update_that_is_waited_for(
    kserve: KServeCluster,
) -> None:
    bring(kserve, 1, CONFIG.model_copy(update={"max_model_len": 4096, "gpus": 1}))
    bring(kserve, 2, CONFIG.model_copy(update={"gpus": 1}))
    (pod,) = kserve.behind("bard")
    assert (pod["spec"]["storageUri"], pod["spec"]["model"].get("args")) == ("s3://bucket/2", None)
    assert kserve.gaps == []


@pytest.mark.parametrize("most", [3, 6])
def test_no_pod_of_the_version_before_is_given_up_before_the_next_has_as_many(kserve: KServeCluster, most: int) -> None:
    config = CONFIG.model_copy(update={"min_replicas": 3, "max_replicas": most})
    bring(kserve, 1, config)
    fewest = 3

    def count(_: str) -> None:
        nonlocal fewest
        fewest = min(fewest, len(kserve.behind("bard")))

    bring(kserve, 2, config, report=count)
    count("")
    for _ in range(5):
        kserve.pause(0)
        count("")
    assert (fewest, len(kserve.behind("bard"))) == (3, 3)
    assert kserve.models_behind("bard") == {"s3://bucket/2"}
    assert set(kserve.scalers) == ({"bard-v2-predictor"} if most > 3 else set())


def test_a_share_of_a_gateways_traffic_comes_between(kserve: KServeCluster) -> None:
    bring(kserve, 1)
    bring(kserve, 2, CONFIG.model_copy(update={"canary_percent": 10, "canary_seconds": 30}))
    shares = [body["spec"]["canary"][0]["trafficPercent"] for _, who, body in kserve.applied if who == ROLLOUT_MANAGER]
    assert shares == [0, 10]
    assert kserve.models_behind("bard") == {"s3://bucket/2"}


def test_another_model_of_the_same_version_number_gets_another_name(kserve: KServeCluster) -> None:
    for uri in ("s3://bucket/a", "s3://bucket/b", "s3://bucket/c"):
        rollout = roll_out(CONFIG, version(3, uri=uri), pause=kserve.pause)
    assert (rollout.predictor, kserve.models_behind("bard")) == ("v3b", {"s3://bucket/c"})


def test_an_api_server_that_goes_away_leaves_the_old_version_and_says_so(kserve: KServeCluster) -> None:
    bring(kserve, 1)
    kserve.script[kserve.pauses + 2] = lambda: kserve.outages.extend([503] * 99)
    with pytest.raises(RolloutFailed, match="the cluster's API can't be used") as caught:
        bring(kserve, 2)
    assert caught.value.reason == "cluster"
    kserve.outages.clear()
    assert kserve.models_behind("bard") == {"s3://bucket/1"}
    assert bring(kserve, 2).version == 2


def test_a_service_that_is_being_deleted_is_let_go(kserve: KServeCluster) -> None:
    bring(kserve, 1)
    kserve.service("bard")["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    kserve.applied.clear()
    with pytest.raises(RolloutRefused, match="play/bard is being deleted"):
        bring(kserve, 2)
    assert kserve.applied == []


@pytest.mark.parametrize("gone", [True, False])
def test_a_service_that_is_deleted_in_a_rollout_ends_it(kserve: KServeCluster, gone: bool) -> None:
    bring(kserve, 1)

    def delete() -> None:
        service = kserve.inference_services.pop("bard") if gone else kserve.inference_services["bard"]
        service.object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        kserve.deployments.clear()

    kserve.script[kserve.pauses + 1] = delete
    before = kserve.pauses
    with pytest.raises(RolloutFailed, match=r"play/bard is (gone|being deleted)") as caught:
        bring(kserve, 2, CONFIG.model_copy(update={"ready_seconds": 1800}))
    assert caught.value.reason == "cluster"
    assert kserve.pauses - before < 10


def test_a_hiccup_of_the_api_server_is_waited_out(kserve: KServeCluster) -> None:
    kserve.outages = [503, 500, 429]
    assert bring(kserve, 1).version == 1


def test_a_pod_asks_the_server_itself(kserve: KServeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    class Model(stand_in.Handler):
        def do_POST(self) -> None:
            asked.append((self.path, self.body()))
            # The endpoint is not known at once.
            self.answer(*((503, {"error": "starting"}) if len(asked) == 1 else (200, completion(GOOD_ANSWER))))

    with stand_in.serving(Model) as url:
        monkeypatch.setattr("opencharacter.serving.rollout.smoke.in_pod", lambda: True)
        monkeypatch.setattr(
            "opencharacter.serving.rollout.smoke.service_url",
            lambda service, namespace, port: f"{url}/{service}.{namespace}:{port}",
        )
        bring(kserve, 1)
    assert [path for path, _ in asked] == ["/bard-predictor.play:80/openai/v1/chat/completions"] * 2
    assert asked[0][1]["model"] == "bard"
    assert ("create", "services/proxy") not in kserve.used


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, "<html>welcome</html>", "not a chat completion: <html>welcome</html>"),
        (502, "upstream", "502: upstream"),
        (429, "slowly", "429: slowly"),
        (404, "no such model", "404: no such model"),
    ],
)
def test_whatever_a_pod_gets_for_an_answer_the_version_before_stays(
    kserve: KServeCluster, monkeypatch: pytest.MonkeyPatch, status: int, body: str, told: str
) -> None:
    bring(kserve, 1)

    class Model(stand_in.Handler):
        def do_POST(self) -> None:
            self.body()
            self.text(status, body)

    with stand_in.serving(Model) as url:
        monkeypatch.setattr("opencharacter.serving.rollout.smoke.in_pod", lambda: True)
        monkeypatch.setattr("opencharacter.serving.rollout.smoke.service_url", lambda *_: url)
        with pytest.raises(RolloutFailed, match=told) as caught:
            bring(kserve, 2)
    assert caught.value.reason == "bad-answer"
    kserve.pause(0)
    assert (kserve.models_behind("bard"), list(kserve.deployments)) == ({"s3://bucket/1"}, ["bard-predictor"])


@pytest.mark.parametrize("right", [("create", "services/proxy"), ("patch", "services")])
def test_a_right_that_is_needed_late_is_missed_before_anything_starts(
    kserve: KServeCluster, right: tuple[str, str]
) -> None:
    bring(kserve, 1)
    kserve.applied.clear()
    kserve.forbidden = {right}
    with pytest.raises(RolloutRefused, match=f"no right to {' '.join(right)} in namespace play") as caught:
        bring(kserve, 2)
    assert (caught.value.reason, kserve.applied) == ("refused", [])
    if right[1] == "services/proxy":
        assert bring(kserve, 2, wait=False).version == 2


def test_scaling_by_keda_changes_hands_without_a_gap(kserve: KServeCluster) -> None:
    waiting = {"scale_on": "waiting", "prometheus_url": "http://prometheus:9090"}
    config = CONFIG.model_copy(update={"min_replicas": 2, "max_replicas": 4, **waiting})
    for number in (1, 2):
        bring(kserve, number, config)
    for _ in range(8):
        kserve.pause(0)
    assert kserve.models_behind("bard") == {"s3://bucket/2"}
    annotations = kserve.deployments["bard-v2-predictor"]["metadata"]["annotations"]
    assert annotations["serving.kserve.io/autoscalerClass"] == "keda"
    assert (kserve.gaps, kserve.faults) == ([], [])


def test_a_service_of_an_earlier_release_is_taken_up(kserve: KServeCluster) -> None:
    """Without annotations of the predictor, and with an autoscaler for a single pod."""
    manifest = deployment_manifest(CONFIG, version(1))
    del manifest["spec"]["predictor"]["annotations"]
    manifest["metadata"]["annotations"] |= {"serving.kserve.io/autoscalerClass": "hpa"}
    kserve.apply("inferenceservices", "bard", "opencharacter", manifest)
    for _ in range(3):
        kserve.pause(0)
    (old,) = [pod["metadata"]["uid"] for pod in kserve.pods]
    seen: list[set[str]] = []
    bring(kserve, 2, report=lambda _: seen.append({pod["metadata"]["uid"] for pod in kserve.pods}))
    assert all(old in uids for uids in seen[:3]), "a canary beside it must not restart the old pod"
    for _ in range(5):
        kserve.pause(0)
    assert kserve.models_behind("bard") == {"s3://bucket/2"}
    assert len(kserve.pods) == 1
    assert kserve.gaps == []


def test_a_kserve_that_knows_no_canaries_is_told_by_name(kserve: KServeCluster) -> None:
    bring(kserve, 1)
    kserve.faulty_applies = [(400, 'strict decoding error: unknown field "spec.canary"')]
    before = kserve.pauses
    with pytest.raises(RolloutRefused, match=r'unknown field "spec\.canary"') as caught:
        bring(kserve, 2)
    assert "KServe 0.20 or newer" in (caught.value.hint or "")
    assert kserve.pauses == before, "no time mends this"
