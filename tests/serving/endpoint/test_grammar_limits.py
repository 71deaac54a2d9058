"""Schemas and regular expressions: what applications use passes; what would stall the engine is refused by its cost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving.endpoint.threats.constraints import HARMFUL, STALLING, TEXT, nested, of, thing

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.contract.grammar_limits import check_grammar
from opencharacter.serving.endpoint.contract.json_reading import read_json
from opencharacter.serving.endpoint.contract.regex_limits import regex_cost
from opencharacter.serving.endpoint.settings import EndpointSettings

SETTINGS = EndpointSettings()


def refused(fields: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        check_grammar(fields, SETTINGS)
    assert caught.value.status == 422
    assert len(caught.value.message) < 500
    return caught.value


TREE = {
    "$defs": {
        "node": thing(value={"type": "integer"}, next={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]})
        | {"required": ["value", "next"], "additionalProperties": False}
    },
    "$ref": "#/$defs/node",
}
SHEET = {
    "title": "Sheet", "description": "d" * 200, "additionalProperties": False, "required": ["name", "level"],
    **thing(
        name={"type": "string", "minLength": 1, "maxLength": 24, "examples": ["Ilse"]},
        level={"type": "integer", "minimum": 1, "maximum": 20, "default": 1},
        mood={"enum": ["calm", "cross", None]},
        kind={"const": "hero"},
        born={"type": "string", "format": "date"},
        code={"type": "string", "pattern": "^[A-Z]{2}-\\d{4}$"},
        share={"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        items={"type": "array", "items": {"anyOf": [TEXT, thing(n={"type": ["integer", "null"]})]}, "maxItems": 10},
        free={}, any=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"response_format": {"type": "text"}}, {"response_format": {"type": "json_object"}}, of({}), of(SHEET),
        of(TREE), of(thing(**{f"p{i}": TEXT for i in range(200)})), of({"enum": [f"v{i}" for i in range(500)]}),
        of(nested(15)), {"structured_outputs": {"json": SHEET}}, {"structured_outputs": {"json_object": True}},
        {"structured_outputs": {"regex": "^(yes|no), .{1,20}$", "grammar": None}},
        {"structured_outputs": {"choice": ["yes", "no"], "disable_any_whitespace": False}},
        {"response_format": {"type": "text"}, "structured_outputs": {"choice": ["yes"]}},
        of({"allOf": [{"$ref": "#/definitions/a"}], "definitions": {"a": TEXT}}),
    ],
)  # fmt: skip
def test_what_applications_use_passes(fields: dict[str, Any]) -> None:
    check_grammar(fields, SETTINGS)


@pytest.mark.parametrize("fields", STALLING.values(), ids=STALLING)
def test_what_would_stall_the_engine_is_refused(fields: dict[str, Any]) -> None:
    body = json.dumps({"messages": [], **fields}).encode()
    with pytest.raises(ApiError) as caught:
        check_grammar(read_json(body, SETTINGS), SETTINGS)
    assert caught.value.status in (413, 422)
    assert len(caught.value.message) < 500


def test_only_what_has_been_checked_goes_on() -> None:
    wrapper = {"name": "x", "strict": True, "description": "d", "schema": TEXT, "json_schema": {"maxLength": 10**9}}
    fields: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": wrapper, "triggers": ["<"]}}
    check_grammar(fields, SETTINGS)
    assert fields == of(TEXT)
    fields = {"response_format": {"type": "json_object", "schema": {}}}
    check_grammar(fields, SETTINGS)
    assert fields == {"response_format": {"type": "json_object"}}
    fields = {"structured_outputs": {"choice": ["a"], "grammar": None, "disable_any_whitespace": False}}
    check_grammar(fields, SETTINGS)
    assert fields == {"structured_outputs": {"choice": ["a"]}}


def test_references_that_multiply_are_followed_once() -> None:
    twice = {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(200)}
    check_grammar(of({"$ref": "#/$defs/a0", "$defs": {**twice, "a200": TEXT}}), SETTINGS)


def test_an_operator_can_allow_more() -> None:
    schema = of({"type": "string", "maxLength": 150})
    assert refused(schema).code == "grammar_too_costly"
    check_grammar(schema, EndpointSettings(max_grammar_cost=5_000))


USUAL = [
    "", "abc", r"\d{4}-\d{2}-\d{2}", "[A-Z][a-z]+( [A-Z][a-z]+)*", r"\w+@\w+\.com", "(yes|no|maybe)",
    "^(January|June|July)$", ".*foo.*", r"^\+?[1-9]\d{1,14}$", r"\d{1,3}(,\d{3})*(\.\d+)?", "#[0-9a-fA-F]{6}",
    "(?:[^,]*,){5}",
    r"[\w.-]+", "a{2,}", r"(https?://)?[a-z.]+/?", "[^\\n]+?", "(ab){0,3}c", r"\u00e9\x41[\]\-^a-c-]", "(a|b|)x",
]  # fmt: skip


@pytest.mark.parametrize("pattern", USUAL)
def test_usual_expressions_are_cheap(pattern: str) -> None:
    assert regex_cost(pattern) <= SETTINGS.max_grammar_cost / 2


@pytest.mark.parametrize("pattern", HARMFUL)
def test_expressions_with_too_many_readings_or_unknown_constructs_are_refused(pattern: str) -> None:
    error = refused({"structured_outputs": {"regex": pattern}})
    assert error.param == "structured_outputs.regex"


@pytest.mark.parametrize("pattern", [".{0,60}", "[a-z]{0,400}", "(.[a-z]){50}"])
def test_lengths_are_refused_by_their_cost(pattern: str) -> None:
    assert refused({"structured_outputs": {"regex": pattern}}).code == "grammar_too_costly"


PATTERNS = st.text(st.sampled_from(list(r"ab.\d[]()|*+?{}0123,^-$")), max_size=30)
SCHEMAS = st.recursive(
    st.sampled_from([TEXT, {}, True, {"type": "integer", "minimum": 3}, {"$ref": "#"}, {"enum": [1]}, {"minItems": 2}]),
    lambda inner: (
        st.builds(lambda a, b: {**thing(a=a, b=b), "required": ["a"]}, inner, inner)
        | st.builds(lambda a: {"type": "array", "items": a, "minItems": 1}, inner)
        | st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner)
    ),
    max_leaves=6,
)


@given(PATTERNS)
def test_what_is_accepted_the_real_compiler_takes_too(pattern: str) -> None:
    import xgrammar

    try:
        regex_cost(pattern)
    except ValueError:
        return
    xgrammar.Grammar.from_regex(pattern)


@given(SCHEMAS)
def test_any_schema_is_accepted_or_refused_and_the_real_compiler_takes_what_is_accepted(schema: Any) -> None:
    import xgrammar

    try:
        check_grammar(of(schema), SETTINGS)
    except ApiError:
        return
    xgrammar.Grammar.from_json_schema(json.dumps(schema))
