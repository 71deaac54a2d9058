"""How Kubeflow Pipelines 2.17 changes values on their way between steps. Read in its source, and seen on a cluster.

Parameters are protobuf values (all numbers are doubles) that are checked against the type of the input that takes them
(`backend/src/v2/driver/resolve.go`). Artifacts' metadata go through ML Metadata (`metadata/converter.go`,
`metadata/client.go`).
"""

import json
import math
import re
from typing import Any

Json = Any


class Refused(Exception):
    """KFP fails here, with these words."""


_KINDS = {
    "STRING": "string",
    "NUMBER_DOUBLE": "number",
    "NUMBER_INTEGER": "number",
    "BOOLEAN": "bool",
    "LIST": "list",
    "STRUCT": "struct",
}
_PATH = re.compile(r'parseJson\(string_value\)((?:\["[^"]+"\])+)')
_CONDITION = re.compile(r"inputs\.parameter_values\['(?P<name>[^']+)'\] (?P<how>==|!=) (?P<literal>true|false|'[^']*')")


def kind_of(value: Json) -> str:
    """The kind of protobuf value that a JSON value becomes."""
    if isinstance(value, bool):
        return "bool"
    kinds: dict[type, str] = {str: "string", int: "number", float: "number", list: "list", dict: "struct"}
    return "null" if value is None else kinds[type(value)]


def wire(value: Json) -> Json:
    """A value after it was a protobuf value: numbers have been doubles; whole ones are written without a fraction."""
    if isinstance(value, dict):
        return {key: wire(part) for key, part in value.items()}
    if isinstance(value, list):
        return [wire(part) for part in value]
    if kind_of(value) != "number":
        return value
    number = float(value)
    if not math.isfinite(number):
        raise Refused(f"invalid value: {number}")
    return int(number) if number.is_integer() and abs(number) < 1e21 else number


def taken(value: Json, wanted: str, name: str) -> Json:
    """A value as an input parameter of that type takes it (`handleParamTypeValidationAndConversion`)."""
    if wanted == "STRING":
        return value if isinstance(value, str) else _text(value)
    if value is None:
        raise Refused(f'got null for input parameter "{name}"')
    if _KINDS[wanted] != kind_of(value):
        raise Refused(f'input parameter "{name}" type mismatch: expect {wanted}, got {kind_of(value)}')
    return value


def _text(value: Json) -> str:
    if value is None:
        return ""
    return json.dumps(value, separators=(",", ":"))


def selected(value: Json, expression: str) -> Json:
    """What a `parameterExpressionSelector` takes out of a value: the forms that the SDK writes for `item.key`."""
    path = _PATH.fullmatch(expression)
    if path is None:
        raise NotImplementedError(f"this walk knows no expression such as {expression}")
    found = json.loads(value if isinstance(value, str) else _text(value))
    for key in re.findall(r'\["([^"]+)"\]', path[1]):
        if not isinstance(found, dict) or key not in found:
            raise Refused(f'evaluation of parameter expression selector "{expression}" failed: no such key: {key}')
        found = found[key]
    return found


def holds(condition: str, parameters: dict[str, Json]) -> bool:
    """Whether a task's condition lets it run. CEL compares values of one kind only."""
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise NotImplementedError(f"this walk knows no condition such as {condition}")
    if match["name"] not in parameters:
        raise Refused(f"evaluation error: no such key: {match['name']}")
    literal = match["literal"]
    wanted = literal[1:-1] if literal.startswith("'") else literal == "true"
    value = parameters[match["name"]]
    if kind_of(value) != kind_of(wanted):
        raise Refused(f"evaluation error: no such overload: {condition} for a {kind_of(value)}")
    return bool((value == wanted) == (match["how"] == "=="))


def items_of(value: Json) -> list[Json]:
    """What a loop runs over (`getItems`)."""
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, list):
        raise Refused(f"value of type {kind_of(value)} cannot be iterated")
    return value


def parsed(text: str, wanted: str) -> Json:
    """An output parameter that a step wrote into a file (`TextToPbValue`)."""
    if wanted == "STRING":
        return text
    value = json.loads(text.strip().lower() if wanted == "BOOLEAN" else text)
    if _KINDS[wanted] != kind_of(value):
        raise Refused(f"TextToPbValue({text!r}, {wanted}) failed: unexpected type")
    return wire(value)


def recorded(output: str, metadata: dict[str, Json]) -> dict[str, Json]:
    """An artifact's metadata as the next step reads them, after ML Metadata has kept them."""
    kept: dict[str, Json] = {}
    for key, value in metadata.items():
        if value is None:
            raise Refused(f'unable to produce MLMD artifact for output "{output}": unsupported value type of {key}')
        wrapped = {"bool": lambda v: int(v), "list": lambda v: {"list": v}, "struct": lambda v: {"struct": v}}
        kept[key] = wrapped.get(kind_of(value), lambda v: v)(wire(value))
    return {"display_name": output, "store_session_info": "{}"} | kept
