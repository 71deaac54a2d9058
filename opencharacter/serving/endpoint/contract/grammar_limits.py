"""Limits of what an answer may be made to fit: `response_format` and `structured_outputs`.

The model server turns these into a grammar between the streams of all users, so what it costs is bounded before it gets
there. Grammars and structural tags are refused, since nobody can say what an arbitrary grammar costs.
"""

from typing import Any

from opencharacter.serving.endpoint.api_errors import ApiError, invalid
from opencharacter.serving.endpoint.contract.regex_limits import regex_cost
from opencharacter.serving.endpoint.contract.schema_limits import SchemaRefused, schema_cost
from opencharacter.serving.endpoint.settings import EndpointSettings

_FORMATS = ("text", "json_object", "json_schema")
_CONSTRAINTS = ("json", "regex", "choice", "json_object")
_MAX_NAME = 128
_UNBOUNDED = "is not accepted: what it costs the engine has no bound; use 'json', 'regex' or 'choice'"


def check_grammar(fields: dict[str, Any], settings: EndpointSettings) -> None:
    """Check `response_format` and `structured_outputs` of a request, and keep of them what has been checked.

    Raises:
        ApiError: 422 with the path of what is not accepted.
    """
    answer, constraint = fields.get("response_format"), fields.get("structured_outputs")
    if answer is not None:
        fields["response_format"] = answer = _check_response_format(answer, settings)
    if constraint is not None:
        if answer is not None and answer["type"] != "text":
            raise invalid("structured_outputs", "stands beside a response_format; an answer fits one of them")
        fields["structured_outputs"] = _check_structured_outputs(constraint, settings)


def _check_response_format(answer: Any, settings: EndpointSettings) -> dict[str, Any]:
    kind = answer.get("type") if isinstance(answer, dict) else None
    if kind == "structural_tag":
        raise invalid("response_format.type", _UNBOUNDED, code="unsupported_parameter")
    if kind not in _FORMATS:
        raise invalid("response_format", f"is not an object whose type is {', '.join(_FORMATS)}")
    if kind != "json_schema":
        return {"type": kind}
    wrapper = answer.get("json_schema")
    if not isinstance(wrapper, dict) or not isinstance(wrapper.get("schema"), dict):
        raise invalid("response_format.json_schema", "is not an object with a 'name' and a 'schema'")
    name = wrapper.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME:
        raise invalid("response_format.json_schema.name", f"is not a text of 1 to {_MAX_NAME} characters")
    _check_schema(wrapper["schema"], "response_format.json_schema.schema", settings)
    return {"type": kind, "json_schema": {"name": name, "schema": wrapper["schema"]}}


def _check_structured_outputs(constraint: Any, settings: EndpointSettings) -> dict[str, Any]:
    if not isinstance(constraint, dict):
        raise invalid("structured_outputs", "is not an object")
    given = {name: value for name, value in constraint.items() if value is not None and value is not False}
    for name in given:
        if name in ("grammar", "structural_tag"):
            raise invalid(f"structured_outputs.{name}", _UNBOUNDED, code="unsupported_parameter")
        if name not in _CONSTRAINTS:
            raise invalid(
                f"structured_outputs.{name[:64]}", f"is none of {', '.join(_CONSTRAINTS)}", code="unknown_parameter"
            )
    if len(given) != 1:
        raise invalid("structured_outputs", f"has {len(given)} constraints; one of {', '.join(_CONSTRAINTS)} is taken")
    ((name, value),) = given.items()
    path = f"structured_outputs.{name}"
    match name:
        case "json":
            if not isinstance(value, dict):
                raise invalid(path, "is not a schema as an object")
            _check_schema(value, path, settings)
        case "regex":
            _check_regex(value, path, settings)
        case "choice":
            _check_choice(value, path, settings)
        case "json_object":
            if value is not True:
                raise invalid(path, "is neither true nor false")
    return given


def _check_schema(schema: dict[str, Any], path: str, settings: EndpointSettings) -> None:
    try:
        cost = schema_cost(schema, settings)
    except SchemaRefused as error:
        raise invalid(path, str(error)) from error
    if cost > settings.max_grammar_cost:
        raise _too_costly(path, cost, settings)


def _check_regex(pattern: Any, path: str, settings: EndpointSettings) -> None:
    if not isinstance(pattern, str):
        raise invalid(path, "is not a text")
    try:
        cost = regex_cost(pattern)
    except ValueError as error:
        raise invalid(path, str(error)) from error
    if cost > settings.max_grammar_cost:
        raise _too_costly(path, cost, settings)


def _too_costly(path: str, cost: float, settings: EndpointSettings) -> ApiError:
    return invalid(
        path,
        f"would take the engine some {cost:.0f} ms to compile; at most {settings.max_grammar_cost} are allowed."
        " Lengths of texts ('maxLength', '{0,100}') cost the most",
        code="grammar_too_costly",
    )


def _check_choice(choices: Any, path: str, settings: EndpointSettings) -> None:
    if not isinstance(choices, list) or not 1 <= len(choices) <= settings.max_enum_values:
        raise invalid(path, f"is not a list of 1 to {settings.max_enum_values} texts")
    if not all(isinstance(choice, str) and choice for choice in choices):
        raise invalid(path, "holds what is not a text, or an empty one")
    if (size := sum(len(choice.encode()) for choice in choices)) > settings.max_schema_bytes:
        raise invalid(path, f"has {size} bytes; at most {settings.max_schema_bytes} are allowed")
