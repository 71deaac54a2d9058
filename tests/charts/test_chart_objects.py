"""What the chart makes, object by object."""

import contextlib
import json
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml
from support.helm import CHART, NAMESPACE, Manifest, helm, objects, one
from support.kserve_cluster import NAMESPACE as SERVING_NAMESPACE
from support.kserve_cluster import KServeCluster
from support.kserve_rules import supporting_runtimes

import opencharacter
from opencharacter.cluster.loading import load_cluster
from opencharacter.cluster.quantities import byte_count, cores
from opencharacter.cluster.spec import STEPS
from opencharacter.config.loading import load_run_config
from opencharacter.registry import RegisteredModel
from opencharacter.serving import DeployConfig, RolloutFailed, deployment_manifest, roll_out
from opencharacter.serving.manifest import MODEL_FORMAT, MODEL_FORMAT_VERSION
from opencharacter.serving.rollout.address import address_service
from opencharacter.serving.rollout.selection import select_runtime
from opencharacter.storage.workspace import Artifact
from opencharacter.training import SftConfig
from opencharacter.training.job import NodeArguments
from opencharacter.training.trainjob import TrainJobSettings
from opencharacter.training.trainjob.manifest import train_job

PRODUCTION = "values-production.yaml"
CRASHED = {"name": "kserve-container", "state": {"terminated": {"exitCode": 1}}}


def container(pod: Manifest, name: str) -> Manifest:
    (found,) = [each for each in pod["containers"] if each["name"] == name]
    return found


def selects(policy: Manifest, labels: dict[str, str]) -> bool:
    wanted = policy["spec"]["podSelector"].get("matchLabels", {})
    return wanted.items() <= labels.items()


def runtime(values: str = "values.yaml", *settings: str) -> Manifest:
    return one("ServingRuntime", MODEL_FORMAT, values, *settings)["spec"]


def inference_service() -> Manifest:
    model = RegisteredModel(name="bard", version=3, uri="s3://bucket/model", digest="d" * 64)
    return deployment_manifest(DeployConfig(), model)


def test_deploy_and_the_runtime_agree() -> None:
    (offered,) = runtime()["supportedModelFormats"]
    assert offered == {"name": MODEL_FORMAT, "version": MODEL_FORMAT_VERSION, "autoSelect": True, "priority": 1}
    predictor = inference_service()["spec"]["predictor"]
    assert predictor["model"]["modelFormat"] == {"name": offered["name"], "version": offered["version"]}
    account = one("ServiceAccount", predictor["serviceAccountName"])
    assert account["secrets"] == [{"name": "opencharacter-s3"}]


def test_kserve_selects_the_runtime_for_what_deploy_writes() -> None:
    model = inference_service()["spec"]["predictor"]["model"]
    offered = one("ServingRuntime", MODEL_FORMAT)
    assert supporting_runtimes(model, [offered], []) == [offered]
    assert select_runtime(model, [offered]).name == MODEL_FORMAT
    del model["protocolVersion"]
    assert supporting_runtimes(model, [offered], []) == [], "KServe takes a missing protocol for v1"
    assert "speaks protocol v2, not v1" in select_runtime(model, [offered]).explain(model)


def test_the_stable_address_is_not_scraped_besides_the_predictors_own_service() -> None:
    owner = inference_service()
    owner["metadata"] |= {"namespace": NAMESPACE, "uid": "u"}
    labels = address_service(owner, "v3")["metadata"]["labels"]
    monitor = one("ServiceMonitor", "opencharacter-server", "values.yaml", "monitoring.serviceMonitor.enabled=true")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= (runtime()["labels"] | owner["metadata"]["labels"]).items()
    assert not wanted <= labels.items()


def test_the_account_of_steps_may_do_what_a_rollout_asks_for(kserve: KServeCluster) -> None:
    config = DeployConfig(service_name="bard", namespace=SERVING_NAMESPACE)
    kserve.obstacles["s3://bucket/3"] = {"containerStatuses": [CRASHED]}
    for number in (1, 2, 3):
        model = RegisteredModel(name="bard", version=number, uri=f"s3://bucket/{number}", digest="d" * 64)
        with contextlib.suppress(RolloutFailed):
            roll_out(config.model_copy(update={"ready_seconds": 60}), model)
    rules = one("Role", "opencharacter-pipeline", "values.yaml", "pipeline.serviceAccount=pipeline-runner")["rules"]
    granted = {(verb, each) for rule in rules for each in rule["resources"] for verb in rule["verbs"]}
    # A pod asks the server itself, not by the API server's proxy; what KServe leaves of the version before may stay.
    spared = {("create", "services/proxy"), ("delete", "horizontalpodautoscalers"), ("delete", "scaledobjects")}
    assert ("get", "pods/log") in kserve.used
    assert kserve.used - spared <= granted


def test_the_engines_environment_can_be_replaced_but_not_doubled() -> None:
    settings = (
        "serving.engine.env.HOME=/data",
        "serving.engine.env.VLLM_LOGGING_LEVEL=DEBUG",
        "serving.engine.env.HF_HUB_OFFLINE=",
    )
    variables = container(runtime("values.yaml", *settings), "kserve-container")["env"]
    told = {each["name"]: each["value"] for each in variables}
    assert len(told) == len(variables)
    assert (told["HOME"], told["VLLM_LOGGING_LEVEL"], told["HF_HUB_OFFLINE"]) == ("/data", "DEBUG", "")
    assert runtime("values.yaml", "serving.engine.env=null") == runtime()


def test_only_the_transformer_has_a_port() -> None:
    """KServe's Service takes the ports of `transformer-container`; vLLM is on loopback."""
    engine, front = container(runtime(), "kserve-container"), container(runtime(), "transformer-container")
    assert "ports" not in engine
    assert "--host=127.0.0.1" in engine["args"]
    (port,) = front["ports"]
    assert port["containerPort"] == 8080
    predictor = next(each for each in front["args"] if each.startswith("--predictor_host="))
    assert predictor == "--predictor_host=127.0.0.1:8081"
    assert "--port=8081" in engine["args"]
    assert all("httpGet" not in engine[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe"))


def test_kserve_fills_in_the_services_name() -> None:
    engine, front = container(runtime(), "kserve-container"), container(runtime(), "transformer-container")
    assert "--served-model-name={{.Name}}" in engine["args"]
    assert "--model_name={{.Name}}" in front["args"]


def test_images_come_from_one_place() -> None:
    digest = "sha256:" + "a" * 64
    settings = ("images.registry=registry.example.com/oc", f"images.digests.tools={digest}")
    assert container(runtime("values.yaml", *settings), "transformer-container")["image"] == (
        f"registry.example.com/oc/serving:{opencharacter.__version__}"
    )
    pod = one("Deployment", "opencharacter-mlflow", "values.yaml", *settings)["spec"]["template"]["spec"]
    assert container(pod, "mlflow")["image"] == f"registry.example.com/oc/tools@{digest}"


def test_mlflow_keeps_a_trials_data_on_a_volume() -> None:
    deployment = one("Deployment", "opencharacter-mlflow")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    pod = deployment["spec"]["template"]["spec"]
    args = container(pod, "mlflow")["args"]
    assert "--backend-store-uri=sqlite:////var/mlflow/mlflow.db" in args
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "opencharacter-mlflow"}} in pod["volumes"]
    assert one("PersistentVolumeClaim", "opencharacter-mlflow")["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_mlflow_in_production_takes_everything_from_secrets() -> None:
    pod = one("Deployment", "opencharacter-mlflow", PRODUCTION)["spec"]["template"]["spec"]
    server = container(pod, "mlflow")
    secrets = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in server["env"] if "valueFrom" in each}
    assert secrets == {
        "MLFLOW_BACKEND_STORE_URI": {"name": "opencharacter-mlflow-database", "key": "uri"},
        "AWS_ACCESS_KEY_ID": {"name": "opencharacter-s3", "key": "AWS_ACCESS_KEY_ID"},
        "AWS_SECRET_ACCESS_KEY": {"name": "opencharacter-s3", "key": "AWS_SECRET_ACCESS_KEY"},
    }
    assert "--no-serve-artifacts" in server["args"]
    assert not [each for each in objects(PRODUCTION) if each["kind"] in ("PersistentVolumeClaim", "Secret")]


def test_mlflow_answers_to_its_names_in_the_cluster() -> None:
    """MLflow refuses requests whose Host header it was not told of."""
    pod = one("Deployment", "opencharacter-mlflow")["spec"]["template"]["spec"]
    hosts = next(each for each in container(pod, "mlflow")["args"] if each.startswith("--allowed-hosts="))
    for name in ("opencharacter-mlflow:5000", f"opencharacter-mlflow.{NAMESPACE}:5000"):
        assert name in hosts.partition("=")[2].split(",")


def test_the_pipelines_rights_are_the_ones_that_steps_use() -> None:
    rules = one("Role", "opencharacter-pipeline")["rules"]
    rights = {
        (group, resource): set(rule["verbs"])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert rights == {
        ("serving.kserve.io", "inferenceservices"): {"get", "create", "patch"},
        ("serving.kserve.io", "servingruntimes"): {"list"},
        ("", "services"): {"get", "create", "patch"},
        ("apps", "deployments"): {"get"},
        ("trainer.kubeflow.org", "trainjobs"): {"get", "create", "delete"},
        ("", "pods"): {"get", "list"},
        ("", "pods/log"): {"get"},
        ("", "events"): {"list"},
        ("argoproj.io", "workflows"): {"get"},
    }
    binding = one("RoleBinding", "opencharacter-pipeline", "values.yaml", "pipeline.serviceAccount=pipeline-runner")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": NAMESPACE}]


def test_no_role_has_a_wildcard_and_hooks_read_what_they_check() -> None:
    for values in ("values.yaml", PRODUCTION):
        for each in objects(values):
            if each["kind"] in ("Role", "ClusterRole"):
                assert "*" not in json.dumps(each["rules"])
    secrets = one("Role", "opencharacter-preflight", PRODUCTION)["rules"]
    assert secrets[0]["resourceNames"] == ["opencharacter-s3", "opencharacter-mlflow-database"]
    nodes = one("ClusterRole", f"opencharacter-preflight-{NAMESPACE}", PRODUCTION)["rules"]
    assert nodes == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]


def test_servers_are_denied_all_but_what_they_need() -> None:
    labels = runtime()["labels"]
    policies = [each for each in objects("values.yaml") if each["kind"] == "NetworkPolicy" and selects(each, labels)]
    names = {each["metadata"]["name"] for each in policies}
    assert names == {"opencharacter-default-deny", "opencharacter-server"}
    deny = one("NetworkPolicy", "opencharacter-default-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    (entry,) = one("NetworkPolicy", "opencharacter-server")["spec"]["ingress"]
    assert entry["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert {"podSelector": {}} in entry["from"]
    world = one("NetworkPolicy", "opencharacter-server")["spec"]["egress"][1]
    assert world["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]


def test_the_nodes_of_a_trainjob_reach_one_another_only() -> None:
    arguments = NodeArguments(
        config=SftConfig(base_model="org/model", processes=2, global_batch_size=32),
        mixture=Artifact(kind="mixture", key="m", uri="s3://bucket/outputs/mixture/m", digest="d"),
        workspace="s3://bucket/run",
        seed=1,
        experiment="characters",
        key="0" * 64,
    )
    job = train_job(TrainJobSettings(image="oc/training:1", nodes=2), arguments, NAMESPACE)
    (patch,) = job["spec"]["runtimePatches"]
    (replicated,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    labels = replicated["template"]["spec"]["template"]["metadata"]["labels"]
    policy = one("NetworkPolicy", "opencharacter-training")
    assert selects(policy, labels)
    assert policy["spec"]["ingress"] == [{"from": [{"podSelector": policy["spec"]["podSelector"]}]}]
    assert not selects(one("NetworkPolicy", "opencharacter-default-deny"), labels)


def test_every_pod_of_the_chart_is_under_the_default_deny() -> None:
    deny = one("NetworkPolicy", "opencharacter-default-deny")
    for each in objects(PRODUCTION):
        if each["kind"] in ("Deployment", "Job"):
            assert selects(deny, each["spec"]["template"]["metadata"]["labels"]), each["metadata"]["name"]
        if each["kind"] == "Pod":
            assert selects(deny, each["metadata"]["labels"]), each["metadata"]["name"]


def test_without_a_token_where_none_is_needed() -> None:
    for each in objects(PRODUCTION):
        if each["kind"] == "ServiceAccount":
            assert each["automountServiceAccountToken"] is False
    assert (
        one("Deployment", "opencharacter-mlflow")["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    )
    assert inference_service()["spec"]["predictor"]["automountServiceAccountToken"] is False


def test_prompts_become_files_of_a_config_map(tmp_path: Path) -> None:
    made = one("ConfigMap", "opencharacter-prompts", "values.yaml", r"prompts.files.profile\.md=Write {{persona}}.")
    assert made["data"] == {"profile.md": "Write {{persona}}."}
    assert not [each for each in objects("values.yaml") if each["kind"] == "ConfigMap"]


def test_production_keeps_pods_through_a_drain() -> None:
    budgets = [each for each in objects(PRODUCTION) if each["kind"] == "PodDisruptionBudget"]
    assert {each["metadata"]["name"] for each in budgets} == {"opencharacter-mlflow", "opencharacter-server"}
    for budget in budgets:
        assert budget["spec"]["maxUnavailable"] == 1
    assert one("Deployment", "opencharacter-mlflow", PRODUCTION)["spec"]["replicas"] == 2


def test_the_monitor_finds_the_services_that_kserve_makes() -> None:
    """KServe gives a runtime's labels to the Service too."""
    monitor = one("ServiceMonitor", "opencharacter-server", PRODUCTION)
    assert monitor["spec"]["selector"]["matchLabels"].items() <= runtime(PRODUCTION)["labels"].items()
    (port,) = container(runtime(PRODUCTION), "transformer-container")["ports"]
    assert {each["port"] for each in monitor["spec"]["endpoints"]} == {port["name"]}
    assert [each["path"] for each in monitor["spec"]["endpoints"]] == ["/metrics", "/metrics/engine"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_queues_hold_the_quotas() -> None:
    queue = one("ClusterQueue", f"opencharacter-{NAMESPACE}", PRODUCTION)["spec"]
    (group,) = queue["resourceGroups"]
    assert group["coveredResources"] == [each["name"] for each in group["flavors"][0]["resources"]]
    flavor = group["flavors"][0]["name"]
    assert one("ResourceFlavor", flavor, PRODUCTION)["metadata"]["name"] == f"opencharacter-gpu-{NAMESPACE}"
    assert one("LocalQueue", "opencharacter", PRODUCTION)["spec"]["clusterQueue"] == f"opencharacter-{NAMESPACE}"
    priorities = {
        each["metadata"]["name"]: each["value"]
        for each in objects(PRODUCTION)
        if each["kind"] == "WorkloadPriorityClass"
    }
    pool = load_cluster("pool", [f"namespace={NAMESPACE}"])
    training, synthesis = (pool.placement(step).priority for step in ("sft", "generate-profiles"))
    assert priorities[training] > priorities[synthesis]
    own = one("ClusterQueue", "gpus", PRODUCTION, "kueue.clusterQueue=gpus")
    assert own["metadata"]["name"] == "gpus"


def test_releases_in_two_namespaces_share_no_object_of_the_cluster() -> None:
    """Helm refuses to make what another release has made."""

    def of_the_cluster(release: str, namespace: str) -> set[tuple[str, str]]:
        done = helm("template", release, str(CHART), "-n", namespace, "-f", str(CHART / PRODUCTION))
        assert done.returncode == 0, done.stderr
        made = [each for each in yaml.safe_load_all(done.stdout) if each]
        return {(each["kind"], each["metadata"]["name"]) for each in made if "namespace" not in each["metadata"]}

    first, second = of_the_cluster("opencharacter", "team-a"), of_the_cluster("opencharacter", "team-b")
    assert {kind for kind, _ in first} == {
        "ClusterQueue",
        "ResourceFlavor",
        "WorkloadPriorityClass",
        "ClusterRole",
        "ClusterRoleBinding",
    }
    assert not first & second


def test_a_trial_finds_cpu_on_a_small_node() -> None:
    """Kubernetes and Kubeflow request 1.7 of a node's two cores."""
    pods = [one("Deployment", "opencharacter-mlflow", "values-trial.yaml")["spec"]["template"]["spec"]]
    pods += [runtime("values-trial.yaml")]
    containers = [each for pod in pods for each in pod["containers"]]
    assert sum(cores(each["resources"]["requests"]["cpu"]) for each in containers) <= 0.25
    assert not any("cpu" in each["resources"]["limits"] for each in containers)
    assert cores(load_run_config(preset="demo").deploy.cpu) <= 0.1
    profile = load_cluster("cpu")
    assert max(cores(profile.placement(step).cpu or "9") for step in STEPS) <= 0.1


def test_the_cluster_is_asked_for_what_the_largest_step_of_a_trial_needs() -> None:
    profile = load_cluster("cpu")
    largest = max((profile.placement(step).memory or "0" for step in STEPS), key=byte_count)
    trial = "values-trial.yaml"
    command = container(one("Job", "opencharacter-preflight", trial)["spec"]["template"]["spec"], "preflight")[
        "command"
    ]
    assert command[command.index("--memory") + 1] == largest
    assert one("ClusterRole", f"opencharacter-preflight-{NAMESPACE}", trial)["rules"][0]["resources"] == ["nodes"]
    assert not [each for each in objects("values.yaml") if each["kind"] == "ClusterRole"], "nothing asks for nodes"
    asked = container(
        one("Job", "opencharacter-preflight", "values.yaml", "preflight.cpu=500m")["spec"]["template"]["spec"],
        "preflight",
    )
    assert asked["command"][-2:] == ["--cpu", "500m"]


@pytest.mark.parametrize("policy", ["opencharacter-mlflow", "opencharacter-server", "opencharacter-check"])
@pytest.mark.parametrize(
    ("labels", "address"),
    [
        ({"k8s-app": "kube-dns"}, None),
        ({"k8s-app": "node-local-dns"}, None),
        (None, "169.254.20.10"),  # the cache's own address, on the node
        (None, "169.254.25.10"),  # Kubespray's
        (None, "10.96.0.10"),  # the cache answers at the address of the cluster's DNS, which is no pod's then
    ],
)
def test_every_policy_lets_names_be_resolved(policy: str, labels: dict[str, str] | None, address: str | None) -> None:
    rule = one("NetworkPolicy", policy)["spec"]["egress"][0]
    assert {(each["port"], each["protocol"]) for each in rule["ports"]} == {(53, "UDP"), (53, "TCP")}
    if address:
        blocks = [ip_network(peer["ipBlock"]["cidr"]) for peer in rule["to"] if "ipBlock" in peer]
        assert any(ip_address(address) in block for block in blocks)
        assert not any(ip_address("8.8.8.8") in block for block in blocks), "only addresses of private networks"
    else:
        (peer,) = [peer for peer in rule["to"] if "podSelector" in peer]
        (expression,) = peer["podSelector"]["matchExpressions"]
        assert (labels or {})[expression["key"]] in expression["values"]


def test_dns_can_be_narrowed() -> None:
    settings = (
        "networkPolicies.dns.cidrs=null",
        "networkPolicies.dns.pods={dns-default}",
        "networkPolicies.dns.ports={5353}",
    )
    rule = one("NetworkPolicy", "opencharacter-server", "values.yaml", *settings)["spec"]["egress"][0]
    (peer,) = rule["to"]
    assert peer["podSelector"]["matchExpressions"][0]["values"] == ["dns-default"]
    assert {each["port"] for each in rule["ports"]} == {5353}


def test_hooks_go_when_they_are_done() -> None:
    hooks = [each for each in objects(PRODUCTION) if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    assert len(hooks) >= 9
    for each in hooks:
        assert "hook-succeeded" in each["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    ahead = [each for each in hooks if "pre-install" in each["metadata"]["annotations"]["helm.sh/hook"]]
    weights = {each["kind"]: int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in ahead}
    assert weights["ServiceAccount"] < weights["RoleBinding"] < weights["Job"]


def test_the_check_and_the_test_pods_end(tmp_path: Path) -> None:
    job = one("Job", "opencharacter-preflight", PRODUCTION)["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, 300)
    tests = [each for each in objects(PRODUCTION) if each["kind"] == "Pod"]
    assert {each["metadata"]["annotations"]["helm.sh/hook"] for each in tests} == {"test"}
    assert all(each["spec"]["restartPolicy"] == "Never" for each in tests)


@pytest.mark.parametrize("part", ["mlflow", "serving", "networkPolicies", "preflight"])
def test_parts_can_be_left_out(part: str) -> None:
    text = yaml.safe_dump(objects("values.yaml", f"{part}.enabled=false"))
    kinds = {
        "mlflow": "Deployment",
        "serving": "ServingRuntime",
        "networkPolicies": "NetworkPolicy",
        "preflight": "Job",
    }
    assert f"kind: {kinds[part]}\n" not in text
