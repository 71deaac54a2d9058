"""Whether a registry holds an image, against a stand-in of a registry."""

import base64
import json
import os
from pathlib import Path

import pytest
from support import stand_in
from support.registry_api import IDENTITY, LOGIN, Media, RegistryApi

from opencharacter.cluster.checks import Issue
from opencharacter.library import LIBRARY_LABEL
from opencharacter.preflight.images import check_images

DIGEST = "sha256:" + "a" * 64


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration of these tests, in place of the user's."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def find_image(reference: str, library: str | None = None) -> Issue:
    [finding] = check_images([reference], library=library)
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
    found = check_images(asked)
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


OURS, ANOTHER = {LIBRARY_LABEL: "1+ours"}, {LIBRARY_LABEL: "1+another"}


@pytest.mark.parametrize("media", ["oci", "docker"])
def test_an_image_s_library_is_compared(registry: RegistryApi, media: Media) -> None:
    registry.add("oc/tools:1", OURS, media=media)
    registry.add(f"oc/tools@{DIGEST}", ANOTHER, media=media)
    same, other = (f"{registry.address}/oc/tools{tag}" for tag in (":1", f"@{DIGEST}"))
    assert find_image(same, "1+ours").state == "ok"
    differs = find_image(other, "1+ours")
    assert (differs.state, "1+another" in differs.message, "1+ours" in differs.message) == ("differs", True, True)
    assert find_image(other).state == "ok", "nobody asks which library it holds"


@pytest.mark.parametrize("media", ["oci", "docker"])
def test_of_several_platforms_the_nodes_own_counts(registry: RegistryApi, media: Media) -> None:
    registry.add_index("oc/tools:1", {"arm64": ANOTHER, "amd64": OURS, "s390x": ANOTHER}, media=media)
    registry.add_index("oc/tools:2", {"arm64": OURS}, media=media)
    registry.add_index("oc/tools:3", {}, media=media)
    found = [find_image(f"{registry.address}/oc/tools:{tag}", "1+ours") for tag in (1, 2, 3)]
    assert [finding.state for finding in found] == ["ok", "ok", "unknown"]
    assert "names no image" in found[2].message


def test_an_index_inside_itself_ends(registry: RegistryApi) -> None:
    registry.add("oc/tools:1", OURS)
    registry.content[DIGEST] = registry.content["oc/tools:1"] = {"manifests": [{"digest": DIGEST}]}
    assert find_image(f"{registry.address}/oc/tools:1", "1+ours").state == "unknown"


@pytest.mark.parametrize("asks", ["basic", "token", "token of ada"])
def test_labels_are_read_as_the_image_is_found(registry: RegistryApi, docker_config: Path, asks: str) -> None:
    registry.asks = asks  # type: ignore[assignment]
    registry.add_index("oc/tools:1", {"amd64": OURS})
    log_in(docker_config, registry)
    assert find_image(f"{registry.address}/oc/tools:1", "1+ours").state == "ok"
    assert len(registry.scopes) == (asks != "basic"), "one token does for all"
    assert find_image(f"{registry.address}/oc/tools:1", "1+new").state == "differs"


def test_the_registry_s_login_does_not_follow_to_where_blobs_lie(registry: RegistryApi, docker_config: Path) -> None:
    seen = []

    class Store(stand_in.Handler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.answer(200, registry.content[self.path.rpartition("/")[2]])  # type: ignore[arg-type]

    registry.asks = "basic"
    registry.add("oc/tools:1", OURS)
    log_in(docker_config, registry)
    with stand_in.serving(Store) as registry.elsewhere:
        assert find_image(f"{registry.address}/oc/tools:1", "1+ours").state == "ok"
    assert seen == [None]


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ("{", "labels cannot be read"),
        ("[]", "no JSON object"),
        ({"schemaVersion": 1}, "names no configuration"),
        ({"config": {"digest": "../../token"}}, "in place of a digest"),
        ({"config": {"digest": DIGEST}}, "answers 404 for its blob"),
        ({"config": None}, "labels cannot be read"),
        ({"manifests": 5}, "labels cannot be read"),
    ],
)
def test_labels_that_cannot_be_read_leave_the_library_unknown(
    registry: RegistryApi, manifest: dict[str, object] | str, why: str
) -> None:
    registry.add("oc/tools:1", OURS)
    registry.content["oc/tools:1"] = manifest
    found = find_image(f"{registry.address}/oc/tools:1", "1+ours")
    assert (found.state, found.message.startswith("is in the registry; which library")) == ("unknown", True)
    assert why in found.message


@pytest.mark.parametrize("labels", [None, {}, {"other": "x"}, {LIBRARY_LABEL: ""}])
def test_an_image_without_the_label_is_of_an_unknown_library(
    registry: RegistryApi, labels: dict[str, str] | None
) -> None:
    registry.add("oc/tools:1", labels)
    found = find_image(f"{registry.address}/oc/tools:1", "1+ours")
    assert (found.state, f"no label {LIBRARY_LABEL}" in found.message) == ("unknown", True)
