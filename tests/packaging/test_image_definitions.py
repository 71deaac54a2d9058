"""The images' definitions agree with one another: bake file, Dockerfiles, lock files, library."""

import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from support.build_script import build_script

from opencharacter import __version__
from opencharacter.cluster.images import image_reference
from opencharacter.library import LIBRARY_LABEL, fingerprint

ROOT = Path(__file__).parents[2]
IMAGES = ["serving", "tools", "training", "synthesis"]
ASKED_FOR = ["lm-eval"]
"""Built where they are named."""
LOCKS = sorted(ROOT.glob("requirements/*.lock"))


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return build_script()


@pytest.mark.parametrize("name", [*IMAGES, *ASKED_FOR])
def test_an_image_is_built_under_the_name_that_the_pipeline_asks_for(build: ModuleType, name: str) -> None:
    assert build.Bake({}).target(name)["tags"] == [image_reference(name)]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*IMAGES, *ASKED_FOR])
def test_a_dockerfile_alone_builds_what_the_bake_file_builds(build: ModuleType, name: str) -> None:
    target = build.Bake({}).target(name)
    declared = dict(re.findall(r"^ARG (\w+)(?:=(\S+))?$", (ROOT / target["dockerfile"]).read_text(), re.MULTILINE))
    assert {key: declared[key] for key in target["args"]} == target["args"]


def test_the_environment_overrides_registry_tag_bases_and_index(build: ModuleType) -> None:
    environment = {
        "REGISTRY": "registry.example.com/oc",
        "TAG": "7",
        "INDEX_URL": "https://m/simple",
        "PYTHON_IMAGE": "own:1",
    }
    command = build.build_command("docker", build.Bake(environment).target("tools"), ["--network", "host"])
    assert command[-5:-3] == ["--tag", "registry.example.com/oc/tools:7"]
    assert command[-3:] == ["--network", "host", "."]
    assert {"INDEX_URL=https://m/simple", "PYTHON_IMAGE=own:1"} <= set(command)
    assert "org.opencontainers.image.version=7" in command


def test_every_image_is_labelled_with_the_library_of_its_checkout(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "engine"
    engine.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/asked\n')
    engine.chmod(0o755)
    monkeypatch.setenv("DOCKER", str(engine))
    monkeypatch.setenv("LIBRARY", "of the user's")
    assert build.main([]) == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked.count(f"{LIBRARY_LABEL}={fingerprint()}") == len(IMAGES)


def test_every_version_is_the_library_s_or_a_locked_one(build: ModuleType) -> None:
    bake = build.Bake({})
    assert bake.value("TAG") == __version__
    engine = re.search(r"^vllm==(\S+)$", (ROOT / "requirements/synthesis-cuda.lock").read_text(), re.MULTILINE)
    assert engine is not None
    assert bake.value("VLLM_IMAGE").endswith(f":v{engine[1]}")
    assert ":latest" not in " ".join(bake.value(name) for name in ("PYTHON_IMAGE", "CUDA_IMAGE", "CUDA_BUILD_IMAGE"))


def test_a_tag_that_names_no_version_is_not_pushed(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAG", "latest")
    monkeypatch.setenv("DOCKER", str(tmp_path / "no-engine-is-asked"))
    with pytest.raises(SystemExit) as caught:
        build.main(["tools", "--push", str(tmp_path / "images.yaml")])
    assert caught.value.code == 2
    assert "TAG=latest names no version" in capsys.readouterr().err


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_holds_exact_versions_and_no_place(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.!-]+( ; .+)?", line), line


@pytest.mark.parametrize("name", ["serving", "synthesis", "tools", "training"])
def test_an_image_holds_the_versions_that_the_tests_run_with(name: str) -> None:
    def pins(lock: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / f"requirements/{lock}.lock").read_text(), re.MULTILINE))

    tested = pins("dev")
    differing = {package for package, version in pins(name).items() if tested.get(package, version) != version}
    assert not differing


def test_the_build_context_holds_what_the_wheel_is_built_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {project["readme"], *project["license-files"], "opencharacter"}
    needed |= {path.resolve().name for path in (ROOT / "opencharacter").iterdir() if path.is_symlink()}
    assert {"components", "pipelines"} <= needed
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert needed <= {line.removeprefix("!") for line in lines if line.startswith("!")}
