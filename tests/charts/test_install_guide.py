"""docs/install.md: each command is parsed by the real program, rendered where it can be, and pinned to a version."""

import functools
import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.argo import STOCK
from support.build_script import build_script
from support.helm import ROOT, load_script, template
from typer.main import get_command

from opencharacter.cli import main
from opencharacter.cli.app import app
from opencharacter.cluster.loading import load_cluster, shipped_clusters

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
            words = shlex.split(re.sub(r" >>? \S+$", "", line))
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


def write_images(folder: Path) -> Path:
    """The file that `make images PUSH=` leaves."""
    build = build_script()
    digests = dict.fromkeys(build.Bake({}).images, "sha256:" + "a" * 64)
    file = folder / "images.yaml"
    file.write_text(build.images_yaml("registry.example.com/opencharacter", "0.1.0", digests))
    return file


def test_the_guide_uses_known_programs_only() -> None:
    assert {words[0] for words in commands()} == {"make", "kubectl", "helm", "opencharacter", "python", "cat"}
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


def test_the_patch_of_argos_defaults_keeps_the_rest_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    [write] = [words for words in of("opencharacter") if words[1:2] == ["workflow-defaults"]]
    Path(write[2]).write_text(yaml.safe_dump(STOCK))
    with pytest.raises(SystemExit):
        main(write)
    [words] = [words for words in of("kubectl") if words[0] == "patch"]
    Path(words[words.index("--patch-file") + 1]).write_text(capsys.readouterr().out)
    command = ["kubectl", "patch", "--local", "--filename", write[2], *words[words.index("--type") :]]
    done = subprocess.run([*command, "--output", "yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = yaml.safe_load(done.stdout)["data"]
    spec = yaml.safe_load(data.pop("workflowDefaults"))["spec"]
    assert yaml.safe_load(spec["podSpecPatch"])["securityContext"]["fsGroup"] == load_cluster("node8").run_as_user
    assert spec["templateDefaults"]["retryStrategy"] == {"limit": "0", "retryPolicy": "Always"}
    stock = dict(STOCK["data"])
    assert spec["ttlStrategy"] == yaml.safe_load(stock.pop("workflowDefaults"))["spec"]["ttlStrategy"]
    assert data == stock


def test_the_images_that_were_pushed_become_part_of_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path)
    told = [line for line in GUIDE.splitlines() if "mine.yaml" in line and not line.startswith(("See", "["))]
    show, append, plan, check, *_ = told
    for line in (show, append, plan, check):
        if line.startswith("cat "):
            subprocess.run(line, shell=True, check=True)
            continue
        line, _, file = line.partition(" > ")
        with pytest.raises(SystemExit) as caught:
            main(shlex.split(line)[1:])
        streams = capsys.readouterr()
        assert not caught.value.code, streams.err
        if file:
            (tmp_path / file).write_text(streams.out, encoding="utf-8")
    assert load_cluster("mine.yaml").images.reference("tools").startswith("registry.example.com/opencharacter/tools@")
    assert "node8: valid, and final fits" in streams.out


@pytest.mark.parametrize("words", of("helm"), ids=" ".join)
def test_helm_knows_the_command_and_its_flags(words: list[str]) -> None:
    known = offered("helm", words[0])
    for flag in flags(words):
        assert re.search(rf"(^|[\s,]){re.escape(flag)}\b", known), f"helm {words[0]} has no {flag}"


@pytest.mark.parametrize("words", [each for each in of("helm") if "charts/opencharacter" in each], ids=" ".join)
def test_our_chart_renders_as_told(words: list[str], tmp_path: Path) -> None:
    images = write_images(tmp_path)
    arguments = [str(images) if word == images.name else word for word in words[1:] if word != "--install"]
    done = subprocess.run(["helm", "template", *arguments], capture_output=True, text=True, cwd=ROOT)
    assert "kind: ServingRuntime" in done.stdout, done.stderr
    assert "registry.example.com/opencharacter/serving@sha256:" in done.stdout
    assert "name: pipeline-runner" in done.stdout


def test_the_manifests_are_written_as_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [[script, *arguments]] = of("python")
    generator = load_script(ROOT / script)
    options = generator.parse(arguments)
    write_images(tmp_path)
    monkeypatch.chdir(tmp_path)
    generator.generate(tmp_path, options.namespace, options.options)
    [applied] = [words[-1] for words in of("kubectl") if words[0] == "apply" and "my-manifests" in words[-1]]
    folder, _, overlay = applied.partition("/")
    assert str(options.output) == folder
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path / overlay)], capture_output=True, text=True)
    assert "image: registry.example.com/opencharacter/tools@sha256:" in done.stdout, done.stderr
    assert "name: pipeline-runner" in done.stdout


def test_the_images_that_are_looked_for_are_the_charts() -> None:
    [words] = [words for words in of("opencharacter") if "--image" in words]
    asked = {word for flag, word in itertools.pairwise(words) if flag == "--image"}
    assert (
        set(
            re.findall(
                r"image: (\S+)", template("values-gpu.yaml", "images.registry=registry.example.com/opencharacter")
            )
        )
        == asked
    )


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
    made = {words[3] for words in of("kubectl") if words[:2] == ["create", "secret"]}
    needed = {secret.secret for name in shipped_clusters() for secret in load_cluster(name).secrets}
    assert needed - {"opencharacter-mlflow"} <= made
    assert "opencharacter-mlflow-database" in made
