"""Whether a registry holds an image, against a stand-in of a registry."""

import base64
import json
import os
from pathlib import Path

import pytest
from support import stand_in
from support.registry_api import IDENTITY, LOGIN, RegistryApi

from opencharacter.pipelines.preflight.findings import Finding
from opencharacter.pipelines.preflight.images import find_images

DIGEST = "sha256:" + "a" * 64


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration of these tests, in place of the user's."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def find_image(reference: str) -> Finding:
    [finding] = find_images([reference])
    return finding


def log_in(docker_config: Path, registry: RegistryApi, login: tuple[str, str] = LOGIN) -> None:
    secret = base64.b64encode(":".join(login).encode()).decode()
    docker_config.write_text(json.dumps({"auths": {registry.address: {"auth": secret}}}))


def test_tags_and_digests_are_found_or_missing(registry: RegistryApi) -> None:
    registry.images = {"oc/tools:0.1.0", f"oc/tools@{DIGEST}"}
    assert find_image(f"{registry.address}/oc/tools:0.1.0").state == "ok"
    assert find_image(f"{registry.address}/oc/tools@{DIGEST}").state == "ok"
    missing = find_image(f"{registry.address}/oc/tools:0.2.0")
    assert (missing.state, missing.subject) == ("missing", f"Image {registry.address}/oc/tools:0.2.0")
    assert "make images PUSH=" in (missing.hint or "")


def test_each_image_is_told_of_in_its_place(registry: RegistryApi) -> None:
    registry.images = {"oc/b:1", "oc/d:1"}
    asked = [f"{registry.address}/oc/{name}:1" for name in "abcd"]
    found = find_images(asked)
    assert [finding.subject for finding in found] == [f"Image {reference}" for reference in asked]
    assert [finding.state for finding in found] == ["missing", "ok", "missing", "ok"]


def test_a_registry_that_sends_elsewhere_is_followed(registry: RegistryApi) -> None:
    registry.images, registry.moves = {"oc/tools:1"}, True
    assert find_image(f"{registry.address}/oc/tools:1").state == "ok"
    assert find_image(f"{registry.address}/oc/tools:2").state == "missing"


@pytest.mark.parametrize("name", ["ada/tools:1", "docker.io/ada/tools:1", "index.docker.io/ada/tools:1"])
def test_docker_hub_is_asked_where_it_answers_through_the_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Proxy(stand_in.Handler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            self.answer(502, {})

    with stand_in.serving(Proxy) as url:
        for spelt in (str.upper, str.lower):
            monkeypatch.setenv(spelt("https_proxy"), url)
            monkeypatch.delenv(spelt("no_proxy"), raising=False)
        assert find_image(name).state == "unknown"
    assert asked == ["registry-1.docker.io:443"]


def test_an_anonymous_token_is_fetched_where_the_registry_wants_one(registry: RegistryApi) -> None:
    registry.asks, registry.images = "token", {"oc/tools:1"}
    assert find_image(f"{registry.address}/oc/tools:1").state == "ok"
    assert registry.scopes == ["repository:oc/tools:pull,push"]
    assert find_image(f"{registry.address}/oc/tools:2").state == "missing"
    registry.token = {"access_token": "t-1"}
    assert find_image(f"{registry.address}/oc/tools:1").state == "ok"


@pytest.mark.parametrize("asks", ["basic", "token of ada"])
def test_docker_s_login_is_used(registry: RegistryApi, docker_config: Path, asks: str) -> None:
    registry.asks, registry.images = asks, {"oc/tools:1"}  # type: ignore[assignment]
    stranger = find_image(f"{registry.address}/oc/tools:1")
    assert (stranger.state, stranger.hint) == ("unknown", f"docker login {registry.address}")
    log_in(docker_config, registry, ("ada", "old"))
    assert find_image(f"{registry.address}/oc/tools:1").state == "unknown"
    log_in(docker_config, registry)
    assert find_image(f"{registry.address}/oc/tools:1").state == "ok"
    assert find_image(f"{registry.address}/oc/tools:2").state == "missing"


@pytest.mark.parametrize(("identity", "state"), [(IDENTITY, "ok"), ("revoked", "unknown")])
def test_an_identity_token_is_exchanged(registry: RegistryApi, docker_config: Path, identity: str, state: str) -> None:
    registry.asks, registry.images = "token", {"oc/tools:1"}
    nobody = base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode()
    login = {"auth": nobody, "identitytoken": identity}
    docker_config.write_text(json.dumps({"auths": {registry.address: login}}))
    assert find_image(f"{registry.address}/oc/tools:1").state == state
    assert registry.scopes == ["repository:oc/tools:pull,push"]


@pytest.mark.parametrize("token", [{}, {"token": ""}, {"token": "another"}, ["t-1"]])
def test_a_token_that_opens_nothing_leaves_it_unknown(registry: RegistryApi, token: object) -> None:
    registry.asks, registry.token = "token", token
    assert find_image(f"{registry.address}/oc/tools:1").state == "unknown"


@pytest.mark.parametrize(
    "challenge",
    ["Bearer", "Bearer realm", "Bearer realm=", 'Bearer realm="http://[half"', 'Bearer realm="ftp://x"', "Negotiate"],
)
def test_a_challenge_that_makes_no_sense_leaves_it_unknown(registry: RegistryApi, challenge: str) -> None:
    registry.asks, registry.challenge = "token", challenge
    assert find_image(f"{registry.address}/oc/tools:1").state == "unknown"


def test_the_login_of_a_credential_helper_is_used(
    registry: RegistryApi, docker_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.dumps({"Username": LOGIN[0], "Secret": LOGIN[1]})
    helper = docker_config.parent / "docker-credential-ours"
    helper.write_text(f"#!/bin/sh\necho '{told}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker_config.parent}:{os.environ['PATH']}")
    docker_config.write_text(json.dumps({"credHelpers": {registry.address: "ours"}}))
    registry.asks, registry.images = "basic", {"oc/tools:1"}
    assert find_image(f"{registry.address}/oc/tools:1").state == "ok"


def test_a_404_of_another_server_tells_nothing(registry: RegistryApi) -> None:
    registry.is_registry = False
    found = find_image(f"{registry.address}/oc/tools:1")
    assert (found.state, "is no registry" in found.message) == ("unknown", True)


def test_a_host_that_cannot_be_leaves_it_unknown() -> None:
    assert find_image("registry..example.com/oc/tools:1").state == "unknown"


def test_a_name_that_is_none_leaves_it_unknown() -> None:
    found = find_image("-registry.example.com/oc/tools:1")
    assert (found.state, "-registry.example.com" in found.message) == ("unknown", True)


@pytest.mark.parametrize("text", ["[]", '{"auths": {"REGISTRY": {"auth": "%"}}}'])
def test_a_login_that_cannot_be_read_leaves_it_unknown(registry: RegistryApi, docker_config: Path, text: str) -> None:
    registry.images = {"oc/tools:1"}
    docker_config.write_text(text.replace("REGISTRY", registry.address))
    found = find_image(f"{registry.address}/oc/tools:1")
    assert (found.state, "cannot be asked from here" in found.message) == ("unknown", True)


@pytest.mark.parametrize("status", [403, 429, 500])
def test_a_registry_that_does_not_say_is_no_fault(registry: RegistryApi, status: int) -> None:
    registry.status = status
    found = find_image(f"{registry.address}/oc/tools:1")
    assert found.state == "unknown"
    assert str(status) in found.message


def test_a_registry_out_of_reach_is_no_fault() -> None:
    found = find_image("127.0.0.1:9/oc/tools:1")
    assert (found.state, "127.0.0.1:9 cannot be asked from here" in found.message) == ("unknown", True)


def test_a_credential_helper_that_is_absent_leaves_it_unknown(registry: RegistryApi, docker_config: Path) -> None:
    docker_config.write_text(json.dumps({"credHelpers": {registry.address: "absent"}}))
    found = find_image(f"{registry.address}/oc/tools:1")
    assert found.state == "unknown"
    assert "docker-credential-absent" in found.message
