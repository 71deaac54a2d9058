"""The promoter's part of the chart."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from support import pod_security
from support.helm import CHART, NAMESPACE, Manifest, objects, one, refusal

from opencharacter.promoter import PromoterConfig
from opencharacter.serving import DeployConfig

ON = ("promoter.enabled=true", "promoter.models[0].model=bard", "promoter.models[0].deploy.service_name=bard")
WEBHOOK = (*ON, "promoter.webhook.enabled=true")
NAME = "opencharacter-promoter"
VALUES = "values.yaml"


def pod(*settings: str) -> Manifest:
    return one("Deployment", NAME, VALUES, *settings)["spec"]["template"]["spec"]


def variables(container: Manifest) -> dict[str, object]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def policy_peers(rules: list[Manifest], side: str) -> list[tuple[str, int]]:
    return [
        (peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"], port["port"])
        for rule in rules
        for peer in rule[side]
        for port in rule["ports"]
        if peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/part-of") == "opencharacter"
    ]


def test_it_is_off_unless_asked_for() -> None:
    assert not [each for each in objects(VALUES) if each["metadata"]["name"] == NAME]


def test_its_file_is_one_that_the_command_takes() -> None:
    settings = (
        *WEBHOOK,
        "promoter.models[1].model=sage",
        "promoter.models[1].alias=blue",
        "promoter.requireGate=false",
    )
    settings += ("promoter.models[1].deploy.service_name=sage", "promoter.models[1].deploy.gpus=2")
    settings += ("promoter.requireGate=false",)
    text = one("ConfigMap", NAME, VALUES, *settings)["data"]["promoter.yaml"]
    config = PromoterConfig.model_validate(yaml.safe_load(text))
    assert [(each.model, each.alias, each.deploy.service_name) for each in config.models] == [
        ("bard", "champion", "bard"),
        ("sage", "blue", "sage"),
    ]
    assert (config.models[1].deploy.gpus, config.require_gate, config.poll_s) == (2, False, 30)
    assert config.webhook is not None
    assert config.webhook.url == f"http://{NAME}.{NAMESPACE}:8080/webhooks/mlflow"
    assert one("Service", NAME, VALUES, *settings)["spec"]["ports"][0]["port"] == 8080
    assert config.lease.name in one("Role", NAME, VALUES, *settings)["rules"][-1]["resourceNames"]


def test_other_values_make_another_pod() -> None:
    def checksum(*settings: str) -> str:
        template = one("Deployment", NAME, VALUES, *settings)["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/config"]

    assert checksum(*ON) != checksum(*ON, "promoter.models[0].deploy.memory=48Gi")


def test_the_schema_knows_each_setting_of_deploy() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    models = schema["properties"]["promoter"]["properties"]["models"]["items"]["properties"]
    assert set(models["deploy"]["properties"]) == set(DeployConfig.model_fields) - {"namespace", "apply"}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (("promoter.enabled=true",), "promoter.models"),
        ((*ON, "promoter.models[0].deploy.memroy=9Gi"), "memroy"),
        ((*ON, "mlflow.enabled=false"), "promoter.trackingUri"),
        ((*ON, "promoter.pollSeconds=0"), "pollSeconds"),
    ],
)
def test_bad_values_are_refused_with_the_key(settings: tuple[str, ...], key: str) -> None:
    assert key in refusal(*settings)


def test_it_finds_the_registry_of_the_chart_or_another() -> None:
    (container,) = pod(*ON)["containers"]
    assert variables(container)["MLFLOW_TRACKING_URI"] == f"http://opencharacter-mlflow.{NAMESPACE}:5000"
    (container,) = pod(*ON, "mlflow.enabled=false", "promoter.trackingUri=https://mlflow.example.com")["containers"]
    assert variables(container)["MLFLOW_TRACKING_URI"] == "https://mlflow.example.com"


def test_a_new_version_is_asked_with_the_endpoints_key() -> None:
    from opencharacter.serving.rollout.smoke import API_KEY

    (container,) = pod(*ON, "promoter.apiKey.secretName=rollouts", "serving.transformer.apiKeysSecret=keys")[
        "containers"
    ]
    (given,) = [each for each in container["env"] if each["name"] == API_KEY]
    assert given["valueFrom"]["secretKeyRef"] == {"name": "rollouts", "key": "key"}
    assert "promoter.apiKey.secretName" in refusal(*ON, "serving.transformer.apiKeysSecret=keys")


def test_a_registry_with_accounts_gets_the_credentials_that_the_pipelines_steps_have() -> None:
    (container,) = pod(*ON)["containers"]
    found = variables(container)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        assert found[name] == {"secretKeyRef": {"name": "opencharacter-mlflow", "key": name, "optional": True}}
    (container,) = pod(*ON, "promoter.trackingSecret=mine")["containers"]
    assert "'name': 'mine'" in str(variables(container)["MLFLOW_TRACKING_TOKEN"])


def test_the_pod_is_restricted_with_a_read_only_root() -> None:
    made = pod(*WEBHOOK)
    assert pod_security.violations(made) == []
    (container,) = made["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["image"].partition(":")[0] == "opencharacter/tools"
    assert container["command"][:2] == ["opencharacter", "promoter"]


def test_it_has_the_rights_that_it_uses_and_no_more() -> None:
    rights = {
        (rule["apiGroups"][0], rule["resources"][0], *rule.get("resourceNames", [])): set(rule["verbs"])
        for rule in one("Role", NAME, VALUES, *ON)["rules"]
    }
    assert rights == {
        ("serving.kserve.io", "inferenceservices"): {"get", "create", "patch"},
        ("serving.kserve.io", "servingruntimes"): {"list"},
        ("", "services"): {"get", "create", "patch"},
        ("apps", "deployments"): {"get"},
        ("", "pods"): {"list"},
        ("", "pods/log"): {"get"},
        ("autoscaling", "horizontalpodautoscalers"): {"delete"},
        ("keda.sh", "scaledobjects"): {"delete"},
        ("", "events"): {"create"},
        ("coordination.k8s.io", "leases"): {"create"},
        ("coordination.k8s.io", "leases", NAME): {"get", "update"},
    }
    assert one("RoleBinding", NAME, VALUES, *ON)["subjects"] == [
        {"kind": "ServiceAccount", "name": pod(*ON)["serviceAccountName"], "namespace": NAMESPACE}
    ]


def test_its_connections_are_the_ones_that_it_needs() -> None:
    policy = one("NetworkPolicy", NAME, VALUES, *WEBHOOK)["spec"]
    assert policy_peers(policy["ingress"], "from") == [("mlflow", 8080)]
    assert policy_peers(policy["egress"][1:], "to") == [("mlflow", 5000), ("server", 8080)]
    assert {"podSelector": {}} not in policy["ingress"][0]["from"]


def test_mlflow_may_call_it_only_where_webhooks_are_on() -> None:
    def mlflow(*settings: str) -> tuple[dict[str, object], list[tuple[str, int]]]:
        deployment = one("Deployment", "opencharacter-mlflow", VALUES, *settings)
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        policy = one("NetworkPolicy", "opencharacter-mlflow", VALUES, *settings)
        return variables(container), policy_peers(policy["spec"]["egress"][1:], "to")

    env, peers = mlflow(*ON)
    assert not [name for name in env if "WEBHOOK" in name]
    assert peers == []
    env, peers = mlflow(*WEBHOOK)
    assert env["MLFLOW_WEBHOOK_ALLOWED_SCHEMES"] == "https,http"
    assert env["MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"] == "true"
    secret = {"name": "opencharacter-webhook", "key": "encryptionKey"}
    assert env["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"] == {"secretKeyRef": secret}
    assert peers == [("promoter", 8080)]
    (container,) = pod(*WEBHOOK)["containers"]
    assert variables(container)["OPENCHARACTER_WEBHOOK_SECRET"] == {"secretKeyRef": secret | {"key": "secret"}}


def test_prometheus_finds_it() -> None:
    monitor = one("ServiceMonitor", NAME, VALUES, *ON, "monitoring.serviceMonitor.enabled=true")["spec"]
    service = one("Service", NAME, VALUES, *ON)
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_its_objects_fit_the_clusters_schema(tmp_path: Path) -> None:
    made = [each for each in objects(VALUES, *WEBHOOK) if each["metadata"]["name"] == NAME]
    assert len(made) == 7
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump_all(made))
    command = ["kubernetes-validate", "--strict", "--kubernetes-version", "1.34", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
