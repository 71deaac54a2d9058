"""docs/install.md: each command is parsed by the real program, rendered where it can be, and pinned to a version."""

import functools
import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest
from support.helm import ROOT
from typer.main import get_command

from opencharacter.cli.app import app

GUIDE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
UPSTREAM = (
    "https://github.com/cert-manager/cert-manager/",
    "https://github.com/kubeflow/pipelines.git/",
    "https://github.com/kubeflow/trainer.git/",
    "https://github.com/kubernetes-sigs/kueue/",
    "https://raw.githubusercontent.com/NVIDIA/k8s-device-plugin/",
    "oci://ghcr.io/kserve/charts/",
)


def commands() -> Iterator[list[str]]:
    for block in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words and words[0] != "export":
                yield words


def of(program: str) -> list[list[str]]:
    return [words[1:] for words in commands() if words[0] == program]


def flags(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]


@functools.cache
def offered(program: str, *subcommands: str) -> str:
    return subprocess.run([program, *subcommands, "--help"], capture_output=True, text=True, check=True).stdout


def test_the_guide_uses_known_programs_only() -> None:
    assert {words[0] for words in commands()} == {"make", "kubectl", "helm", "opencharacter", "python"}
    assert len(list(commands())) > 30


@pytest.mark.parametrize("words", of("opencharacter"), ids=" ".join)
def test_our_commands_parse(words: list[str]) -> None:
    command = get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words)


@pytest.mark.parametrize("words", of("kubectl"), ids=" ".join)
def test_kubectl_knows_the_command_and_its_flags(words: list[str]) -> None:
    nested = words[:3] if words[:3] == ["create", "secret", "generic"] else words[:1]
    known = offered("kubectl", *nested) + subprocess.run(["kubectl", "options"], capture_output=True, text=True).stdout
    for flag in flags(words):
        assert re.search(rf"(^|[\s,]){re.escape(flag)}\b", known), f"kubectl {' '.join(nested)} has no {flag}"


@pytest.mark.parametrize("words", [each for each in of("kubectl") if each[0] == "create"], ids=" ".join)
def test_secrets_can_be_made_as_told(words: list[str]) -> None:
    done = subprocess.run(["kubectl", *words, "--dry-run=client", "-o", "yaml"], capture_output=True, text=True)
    assert "kind: Secret" in done.stdout, done.stderr


@pytest.mark.parametrize("words", of("helm"), ids=" ".join)
def test_helm_knows_the_command_and_its_flags(words: list[str]) -> None:
    known = offered("helm", words[0])
    for flag in flags(words):
        assert re.search(rf"(^|[\s,]){re.escape(flag)}\b", known), f"helm {words[0]} has no {flag}"


@pytest.mark.parametrize("words", [each for each in of("helm") if "charts/opencharacter" in each], ids=" ".join)
def test_our_chart_renders_as_told(words: list[str]) -> None:
    arguments = [word for word in words[1:] if word != "--install"]
    done = subprocess.run(["helm", "template", *arguments], capture_output=True, text=True, cwd=ROOT)
    assert "kind: ServingRuntime" in done.stdout, done.stderr
    assert "registry.example.com/opencharacter/serving:" in done.stdout
    assert "name: pipeline-runner" in done.stdout


def test_makes_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target, *_ in of("make"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_addresses_are_upstreams_own_and_pinned() -> None:
    found = [word for words in commands() for word in words if "://" in word and "example.com" not in word]
    remote = [word for word in found if word.startswith(("https://", "oci://"))]
    assert len(remote) == 9
    for words in commands():
        for word in words:
            if word in remote:
                assert word.startswith(UPSTREAM), word
                assert re.search(r"v?\d+\.\d+\.\d+", " ".join(words)), f"no version: {word}"


def test_files_and_folders_that_it_names_exist() -> None:
    for words in commands():
        for word in words:
            if word.startswith(("charts/", "manifests/")):
                assert (ROOT / word).exists(), word
    for target in re.findall(r"\]\(([^)#:]+)\)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target


def test_secrets_are_the_ones_that_the_profiles_and_the_chart_name() -> None:
    from opencharacter.pipelines.loading import cluster_profiles, load_cluster_profile

    made = {words[3] for words in of("kubectl") if words[:2] == ["create", "secret"]}
    needed = {secret.secret for name in cluster_profiles() for secret in load_cluster_profile(name).secrets}
    assert needed - {"opencharacter-mlflow"} <= made
    assert "opencharacter-mlflow-database" in made
