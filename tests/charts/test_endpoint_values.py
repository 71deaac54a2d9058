"""Values of the endpoint become arguments that the transformer takes, mounts and connections."""

import argparse
from pathlib import Path
from typing import Any

import pytest
from support.crds import crd_faults
from support.helm import Manifest, one, refusal
from support.kserve_rules import placeholders

from opencharacter.serving.endpoint.access import REDIS_URL
from opencharacter.serving.endpoint.settings import EndpointSettings, add_arguments, read_arguments
from opencharacter.serving.manifest import MODEL_FORMAT

FRONT = "serving.transformer."


def runtime(*settings: str) -> Manifest:
    return one("ServingRuntime", MODEL_FORMAT, "values.yaml", *settings)["spec"]


def front(*settings: str) -> Manifest:
    (found,) = [each for each in runtime(*settings)["containers"] if each["name"] == "transformer-container"]
    return found


def read(*settings: str) -> tuple[EndpointSettings, argparse.Namespace]:
    """The settings that the transformer reads from the rendered arguments."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    for name in ("model_name", "model_dir", "predictor_host", "predictor_protocol", "http_port"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--predictor_request_timeout_seconds", type=int)
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args(front(*settings)["args"])
    return read_arguments(arguments), arguments


def test_without_values_the_endpoint_is_as_it_is_by_itself_but_drains_longer() -> None:
    settings, arguments = read()
    assert settings.drain_s > EndpointSettings.drain_s
    assert settings == EndpointSettings(drain_s=settings.drain_s)
    assert arguments.workers == 1


def test_every_value_reaches_its_setting() -> None:
    settings, arguments = read(
        f"{FRONT}strictness=strict",
        f"{FRONT}workers=3",
        f"{FRONT}allowedOrigins={{https://a.example,https://b.example:8443}}",
        f"{FRONT}charactersConfigMap=cast",
        f"{FRONT}apiKeysSecret=keys",
        f"{FRONT}logRequestText=true",
        f"{FRONT}limits.inFlight=9",
        f"{FRONT}limits.queued=0",
        f"{FRONT}limits.queueSeconds=0",
        f"{FRONT}limits.requestsPerMinute=60",
        f"{FRONT}limits.tokensPerMinute=100000",
        f"{FRONT}limits.tokensPerDay=20000000",
        f"{FRONT}limits.keyInFlight=4",
        f"{FRONT}redis.failure=closed",
        f"{FRONT}drainSeconds=40",
        f"{FRONT}streamIdleSeconds=30",
        f"{FRONT}requestSeconds=90",
        f"{FRONT}args={{--max_body_bytes=1048576}}",
    )
    assert arguments.workers == 3
    assert settings == EndpointSettings(
        request_timeout_s=90,
        stream_idle_timeout_s=30,
        drain_s=40,
        max_body_bytes=1 << 20,
        cors_origins=("https://a.example", "https://b.example:8443"),
        strictness="strict",
        characters_dir=Path("/etc/opencharacter/characters"),
        api_keys_file=Path("/etc/opencharacter/keys/keys.yaml"),
        requests_per_minute=60,
        tokens_per_minute=100_000,
        tokens_per_day=20_000_000,
        key_max_in_flight=4,
        redis_failure="closed",
        max_in_flight=9,
        max_queued=0,
        queue_timeout_s=0,
        log_request_text=True,
    )


def test_keys_and_characters_are_mounted_whole_so_that_changes_arrive() -> None:
    """Kubernetes never updates a file that is mounted by `subPath`."""
    spec = runtime(f"{FRONT}charactersConfigMap=cast", f"{FRONT}apiKeysSecret=web-keys")
    (container,) = [each for each in spec["containers"] if each["name"] == "transformer-container"]
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["keys"]["secret"] == {
        "secretName": "web-keys",
        "items": [{"key": "keys.yaml", "path": "keys.yaml"}],
    }
    assert volumes["characters"]["configMap"] == {"name": "cast"}
    for name, folder in (("keys", "/etc/opencharacter/keys"), ("characters", "/etc/opencharacter/characters")):
        assert mounts[name] == {"name": name, "mountPath": folder, "readOnly": True}


def variables(*settings: str) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in front(*settings)["env"]}


def ports(*settings: str) -> set[int]:
    egress = one("NetworkPolicy", "opencharacter-server", "values.yaml", *settings)["spec"]["egress"]
    return {each["port"] for each in egress[1]["ports"]}


def test_redis_is_named_by_a_secret_and_can_be_reached() -> None:
    settings = (f"{FRONT}redis.secretName=counts", f"{FRONT}redis.port=6380")
    assert variables(*settings)[REDIS_URL] == {"secretKeyRef": {"name": "counts", "key": "url"}}
    assert REDIS_URL not in variables()
    assert ports(*settings) == {443, 6380}
    assert ports() == {443}


def test_both_containers_send_spans_to_one_collector() -> None:
    endpoint = "http://collector.observability:4318/v1/traces"
    settings = (f"monitoring.tracing.endpoint={endpoint}", "monitoring.tracing.ratio=0.1")
    told = variables(*settings)
    assert told["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == endpoint
    assert (told["OTEL_TRACES_SAMPLER"], told["OTEL_TRACES_SAMPLER_ARG"]) == ("parentbased_traceidratio", "0.1")
    (engine,) = [each for each in runtime(*settings)["containers"] if each["name"] == "kserve-container"]
    assert f"--otlp-traces-endpoint={endpoint}" in engine["args"]
    protocol = next(each for each in engine["env"] if each["name"] == "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
    assert protocol["value"] == "http/protobuf", "the transformer speaks no other"
    assert ports(*settings) == {443, 4318}


def test_kserve_takes_the_runtime_with_every_value_set() -> None:
    made = one(
        "ServingRuntime",
        MODEL_FORMAT,
        "values.yaml",
        f"{FRONT}charactersConfigMap=cast",
        f"{FRONT}apiKeysSecret=keys",
        f"{FRONT}redis.secretName=counts",
        "monitoring.tracing.endpoint=http://collector:4318/v1/traces",
    )
    assert crd_faults(made) == []


def test_kserve_finds_no_other_placeholder_than_the_name() -> None:
    """It runs containers through Go's template engine."""
    for container in runtime()["containers"]:
        assert placeholders(container) <= {".Name"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (f"{FRONT}strictness=lax", "/serving/transformer/strictness"),
        (f"{FRONT}allowedOrigins[0]=app.example.com", "/serving/transformer/allowedOrigins/0"),
        (f"{FRONT}limits.inFlight=0", "/serving/transformer/limits/inFlight"),
        (f"{FRONT}redis.failure=maybe", "/serving/transformer/redis/failure"),
        (f"{FRONT}limits.tokensPerDay=5", "serving.transformer.apiKeysSecret"),
        ("monitoring.tracing.endpoint=collector:4318", "/monitoring/tracing/endpoint"),
    ],
)
def test_bad_values_are_refused_with_the_key(settings: str, told: str) -> None:
    assert told in refusal(settings)
