"""The selection of a runtime, against KServe's own rules as the stand-in has them."""

import itertools
import random
from typing import Any

import pytest
from support.kserve_rules import supporting_runtimes

from opencharacter.serving import DeployConfig
from opencharacter.serving.manifest import model_spec
from opencharacter.serving.rollout.selection import select_runtime

MODEL = model_spec(DeployConfig(), storage_uri="s3://bucket/model")
OURS = {"name": "opencharacter", "version": "1", "autoSelect": True, "priority": 1}


def runtime(name: str = "ours", *formats: dict[str, Any], **spec: Any) -> dict[str, Any]:
    supported = list(formats) or [OURS]
    metadata = {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"supportedModelFormats": supported, "protocolVersions": ["v2"]} | spec}


@pytest.mark.parametrize(
    ("offered", "told"),
    [
        (runtime("ours", OURS | {"version": "2"}), "ours serves opencharacter version 2"),
        (runtime("ours", {"name": "vLLM", "autoSelect": True}), "ours serves vLLM only"),
        (runtime("ours", OURS | {"autoSelect": False}), "ours serves opencharacter, but not by itself"),
        (runtime(protocolVersions=["v1", "grpc-v2"]), "ours speaks protocol v1, grpc-v2, not v2"),
        (runtime(disabled=True), "ours is disabled"),
        (runtime(multiModel=True), "multiModel"),
        (runtime(workerSpec={}), "workerSpec"),
    ],
)
def test_each_mismatch_is_named(offered: dict[str, Any], told: str) -> None:
    selection = select_runtime(MODEL, [offered])
    assert selection.name is None
    assert told in selection.explain(MODEL)
    assert "format 'opencharacter' version 1 and protocol v2" in selection.explain(MODEL)


def test_without_any_runtime_that_is_what_is_said() -> None:
    assert "there is no ServingRuntime at all" in select_runtime(MODEL, []).explain(MODEL)


def test_a_namespaces_runtime_goes_before_the_clusters_and_priority_before_age() -> None:
    cluster = [runtime("of-cluster", OURS | {"priority": 9})]
    assert select_runtime(MODEL, [runtime("old")], cluster).name == "old"
    younger = runtime("younger")
    younger["metadata"]["creationTimestamp"] = "2026-06-01T00:00:00Z"
    assert select_runtime(MODEL, [runtime("old"), younger]).name == "younger"
    assert select_runtime(MODEL, [runtime("old", OURS | {"priority": 2}), younger]).name == "old"


def test_what_is_selected_is_what_kserve_supports_whatever_is_offered() -> None:
    draw = random.Random(0)
    names, versions, protocols = ["opencharacter", "vLLM"], [None, "1", "2"], [[], ["v1"], ["v2"], ["v1", "v2"]]
    for number in range(300):
        offered = []
        for position in range(3):
            formats = [
                {"name": draw.choice(names), "autoSelect": draw.random() < 0.8, "priority": position}
                | ({"version": version} if (version := draw.choice(versions)) else {})
                for _ in range(2)
            ]
            spec = {"protocolVersions": draw.choice(protocols), "disabled": draw.random() < 0.1}
            offered.append(runtime(f"r{position}", *formats, **spec))
        model = {"modelFormat": {"name": "opencharacter"}}
        if version := draw.choice(versions):
            model["modelFormat"]["version"] = version
        model |= {"protocolVersion": draw.choice(["v1", "v2"])} if number % 3 else {}
        for namespaced, cluster in itertools.product([offered, []], [offered, []]):
            supported = [each["metadata"]["name"] for each in supporting_runtimes(model, namespaced, cluster)]
            selected = select_runtime(model, namespaced, cluster).name
            assert selected == (supported[0] if supported else None)
