"""Custom resources against their CRD's schema, as the API server reads it (CEL rules are left out)."""

import functools
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CRDS = Path(__file__).parents[3] / "shared" / "schemas" / "crds"


def crd_faults(document: dict[str, Any]) -> list[str]:
    """What the schema has against the object; fields that it doesn't know (which a server would drop) included.

    Skips the test where the CRDs are not at hand.
    """
    group, _, version = document["apiVersion"].partition("/")
    validator = jsonschema.Draft7Validator(_schema(group, version, document["kind"]))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def crd_fields(group: str, version: str, kind: str) -> dict[str, Any]:
    """The fields of a kind, nested, those of a list's items below the list. Skips as `crd_faults` does."""
    return _fields(_schema(group, version, kind))


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    schema = schema.get("items", schema)
    return {name: _fields(inner) for name, inner in schema.get("properties", {}).items()}


@functools.cache
def _schema(group: str, version: str, kind: str) -> dict[str, Any]:
    if not CRDS.is_dir():
        pytest.skip(f"no CRDs in {CRDS}")
    for path in sorted(CRDS.glob(f"{group}_*.yaml")):
        spec = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
        if spec["names"]["kind"] == kind:
            found = next(each for each in spec["versions"] if each["name"] == version)
            schema: dict[str, Any] = found["schema"]["openAPIV3Schema"]
            schema["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            return _strict(schema)
    raise LookupError(f"no CRD of {group}/{version} {kind} in {CRDS}")


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
        inner |= {} if open_ended else {"additionalProperties": False}
    return inner
