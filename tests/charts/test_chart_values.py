"""The chart's values: shipped files render, bad ones are refused with the key, each is documented."""

import json
import subprocess
from pathlib import Path

import pytest
from support.build_script import build_script
from support.helm import CHART, ROOT, VALUES_FILES, helm, load_script, refusal, template

document = load_script(ROOT / "charts" / "document.py")


@pytest.mark.parametrize("values", VALUES_FILES)
def test_each_shipped_file_passes_the_linter_and_renders(values: str) -> None:
    done = helm("lint", "--strict", str(CHART), "-f", str(CHART / values))
    assert done.returncode == 0, done.stdout + done.stderr
    assert template(values).count("kind: ServingRuntime") == 1


def test_values_and_manifests_are_clean_yaml() -> None:
    off = ", ".join(f"{rule}: disable" for rule in ("document-start", "braces", "comments"))
    own = "line-length: {max: 140}, indentation: {indent-sequences: whatever}"
    rules = f"{{extends: default, rules: {{{own}, {off}}}}}"
    files = [*CHART.glob("*.yaml"), *(ROOT / "manifests").rglob("kustomization.yaml")]
    done = subprocess.run(["yamllint", "-s", "-d", rules, *map(str, files)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("servng.enabled=false",), ["servng", "not allowed"]),
        (("serving.engine.imge=x",), ["/serving/engine", "imge"]),
        (("preflight.gpus=3",), ["/preflight/gpus", "0, 1, 2, 4, 8, 16"]),
        (("preflight.memory=8GB",), ["/preflight/memory"]),
        (("kueue.clusterQueue=Team A",), ["/kueue/clusterQueue"]),
        (
            ("kueue.enabled=true", f"kueue.priorities[0].name={'n' * 64}", "kueue.priorities[0].value=1"),
            ["63", "n" * 64],
        ),
        (("networkPolicies.dns.cidrs[0]=10.0.0.10",), ["/networkPolicies/dns/cidrs/0"]),
        (("s3.secretName=",), ["/s3/secretName"]),
        (("mlflow.backend.secretName=",), ["/mlflow/backend/secretName"]),
        (("serving.engine.memory=24 GB",), ["/serving/engine/memory"]),
        (("kueue.quotas.cpu=lots",), ["/kueue/quotas/cpu"]),
        (("images.tag=latest",), ["images.tag: latest names no version"]),
        (("serving.engine.image=vllm/vllm-openai:latest",), ["serving.engine.image: latest names no version"]),
        (("mlflow.image.repository=x/mlflow", "mlflow.image.tag=latest"), ["mlflow.image.tag: latest names"]),
        (("mlflow.image.repository=x/mlflow",), ["/mlflow/image/tag"]),
        (("images.registry=https://registry.example.com/oc",), ["/images/registry"]),
        (("images.digests.tool=sha256:0",), ["/images/digests", "tool"]),
        (("serving.engine.image=vllm/vllm-openai",), ["/serving/engine/image"]),
        (("serving.engine.runAsUser=0",), ["/serving/engine/runAsUser"]),
        (("mlflow.replicas=2",), ["/mlflow/replicas", "1"]),
        (("mlflow.backend.type=postgresql",), ["/mlflow/artifacts/root", "s3://"]),
        (("mlflow.backend.type=mysql",), ["/mlflow/backend/type", "postgresql"]),
        (("networkPolicies.egress.ports[0]=99999999",), ["/networkPolicies/egress/ports/0", "65,535"]),
        (("preflight.needs[0]=spark",), ["/preflight/needs/0", "trainer"]),
        (("prompts.files.judge=x",), ["/prompts/files", "judge"]),
    ],
)
def test_bad_values_are_refused_with_the_key(settings: tuple[str, ...], told: list[str]) -> None:
    message = refusal(*settings)
    assert all(each in message for each in told), message


CLUSTER = "apiregistration.k8s.io/v1"
"""Every cluster serves it; `helm template` does not take it for granted."""


@pytest.mark.parametrize(
    ("values", "served", "lacks"),
    [
        ("values-trial.yaml", [], ["KServe"]),
        ("values-production.yaml", [], ["KServe", "Kueue", "The Prometheus operator"]),
        ("values-production.yaml", ["serving.kserve.io/v1alpha1", "monitoring.coreos.com/v1"], ["Kueue"]),
        ("values-trial.yaml", ["serving.kserve.io/v1alpha1"], []),
    ],
)
def test_what_the_cluster_does_not_serve_is_told_in_plain_words(
    values: str, served: list[str], lacks: list[str]
) -> None:
    """Before any hook runs, Helm itself would say `no matches for kind`."""
    apis = [part for api in (CLUSTER, *served) for part in ("--api-versions", api)]
    done = helm("template", "opencharacter", str(CHART), "-f", str(CHART / values), *apis)
    told = [line for line in done.stderr.splitlines() if "is missing: the cluster does not serve" in line]
    assert [line.partition(" is missing")[0] for line in told] == lacks
    assert bool(done.returncode) == bool(lacks)
    off = [line.rpartition("--set ")[2] for line in told]
    without = [part for setting in off for part in ("--set", setting)]
    again = helm("template", "opencharacter", str(CHART), "-f", str(CHART / values), *apis, *without)
    assert again.returncode == 0, again.stderr


def test_what_make_images_writes_is_a_values_file(tmp_path: Path) -> None:
    build = build_script()
    digests = {name: f"sha256:{number:064x}" for number, name in enumerate(build.Bake({}).images)}
    file = tmp_path / "images.yaml"
    file.write_text(build.images_yaml("registry.example.com:5000/oc", "1.2", digests), encoding="utf-8")
    done = helm("template", "opencharacter", str(CHART), "-f", str(file))
    for name in ("tools", "serving"):
        assert f"image: registry.example.com:5000/oc/{name}@{digests[name]}" in done.stdout, done.stderr


def test_every_object_of_the_schema_is_closed() -> None:
    """Otherwise a misspelt key is taken in silence."""

    def opened(schema: object, path: str = "") -> list[str]:
        if isinstance(schema, list):
            return [each for item in schema for each in opened(item, path)]
        if not isinstance(schema, dict):
            return []
        own = [path] if schema.get("type") == "object" and "additionalProperties" not in schema else []
        return own + [each for key, value in schema.items() for each in opened(value, f"{path}/{key}")]

    schema = json.loads((CHART / "values.schema.json").read_text())
    assert opened(schema) == ["/properties/global"], "helm itself sets `global`"


def test_every_value_is_in_the_schema_and_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = list(document.values())
    assert len(found) > 60
    for value in found:
        place = schema
        for part in value.key.split("."):
            place = place["properties"][part]
        assert value.description, f"{value.key} has no comment `# -- …` in values.yaml"


def test_the_readme_is_up_to_date() -> None:
    page = (CHART / "README.md").read_text()
    assert document.with_table(page) == page, "run `make chart-docs`"


def test_the_chart_is_of_the_librarys_version() -> None:
    from opencharacter import __version__

    assert f'appVersion: "{__version__}"' in (CHART / "Chart.yaml").read_text()
