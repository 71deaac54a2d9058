"""Schemas and regular expressions: what applications use passes; what would stall the engine is refused by its cost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.contract.grammar_limits import check_grammar
from opencharacter.serving.endpoint.contract.json_reading import read_json
from opencharacter.serving.endpoint.contract.regex_limits import regex_cost
from opencharacter.serving.endpoint.settings import EndpointSettings

SETTINGS = EndpointSettings()
TEXT = {"type": "string"}


def of(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def thing(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = TEXT
    for _ in range(levels):
        schema = thing(a=schema)
    return schema


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


def loop(**definitions: Any) -> dict[str, Any]:
    return of({"$ref": "#/$defs/a", "$defs": definitions})


STALLING = {
    "a $ref loop": loop(a={"$ref": "#/$defs/b"}, b={"$ref": "#/$defs/a"}),
    "a $ref to itself": of({"$ref": "#"}),
    "a loop by way of anyOf": loop(a={"anyOf": [{"$ref": "#/$defs/a"}, TEXT]}),
    "a loop in a part that nothing uses": of({**TEXT, "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}),
    "a value within itself without end": loop(a={**thing(b={"$ref": "#/$defs/a"}), "required": ["b"]}),
    "a list within itself without end": loop(a={"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}),
    "a $ref to elsewhere": of({"$ref": "http://example.com/schema"}),
    "a $ref to nowhere": loop(b=TEXT),
    "a huge integer range": of({"type": "integer", "minimum": 0, "maximum": 10**300}),
    "150 levels": of(nested(150)),
    "150 levels of lists": of({"items": {"items": json.loads('{"items":' * 148 + "{}" + "}" * 148)}}),
    "20,000 optional properties": of(thing(**{f"p{i}": TEXT for i in range(20_000)})),
    "201 properties on several levels": of(thing(**{f"p{i}": thing(a=TEXT) for i in range(101)})),
    "5,000 structural tags": {
        "response_format": {"type": "structural_tag", "triggers": ["<"], "structures": [{"begin": "<"}] * 5_000}
    },
    "structural tags elsewhere": {"structured_outputs": {"structural_tag": "{}"}},
    "50,000 values of an enum": of({"enum": [f"v{i}" for i in range(50_000)]}),
    "an enum of objects": of({"enum": [{"a": 1}]}),
    "a schema of 33 KB": of({"const": "x" * 33_000}),
    "lengths": of(thing(**{f"p{i}": {"type": "string", "maxLength": 20} for i in range(20)})),
    "a length of a million": of({"type": "string", "maxLength": 1_000_000}),
    "a length of a thousand": of({"type": "string", "minLength": 1_000}),
    "combinations of properties": of({**thing(**{f"p{i}": TEXT for i in range(100)}), "minProperties": 50}),
    "patterns of properties": of({"type": "object", "patternProperties": {".*": TEXT}}),
    "two schemas at once": of({"allOf": [TEXT, {"enum": ["a"]}]}),
    "many addresses": of(thing(**{f"p{i}": {"type": "string", "format": "email"} for i in range(20)})),
    "a format of the slowest kind": of({"type": "string", "format": "uri-template"}),
    "a keyword in a note": of({"default": {"patternProperties": {".*": TEXT}}}),
    "a pattern that stalls": of({"type": "string", "pattern": "(.*)*(.*)*x"}),
    "many patterns": of(thing(**{f"p{i}": {"pattern": ".{5}"} for i in range(10)})),
    "a grammar": {"structured_outputs": {"grammar": 'root ::= root root | "a"'}},
    "another compiler's white space": {"structured_outputs": {"json": TEXT, "whitespace_pattern": "( *)*"}},
    "501 choices": {"structured_outputs": {"choice": [str(i) for i in range(501)]}},
    "long choices": {"structured_outputs": {"choice": ["x" * 33_000]}},
    "two constraints": {"structured_outputs": {"json": TEXT, "regex": "a"}},
    "two constraints in two fields": {**of(TEXT), "structured_outputs": {"regex": "a"}},
    "no constraint": {"structured_outputs": {}},
    "a schema as a text": {"structured_outputs": {"json": json.dumps(TREE)}},
    "a type that is none": of({"type": "text"}),
    "a schema that is none": of({"properties": {"a": "string"}}),
    "no schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
    "no type": {"response_format": {"schema": {}}},
    "no object": {"response_format": "json"},
}


@pytest.mark.parametrize("fields", STALLING.values(), ids=STALLING)
def test_what_would_stall_the_engine_is_refused(fields: dict[str, Any]) -> None:
    body = json.dumps({"messages": [], **fields}).encode()
    with pytest.raises(ApiError) as caught:
        check_grammar(read_json(body, SETTINGS), SETTINGS)
    assert caught.value.status in (413, 422)
    assert len(caught.value.message) < 500


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
HARMFUL = [
    "(a+)+b", "(.*)*", "(.*)*(.*)*(.*)*x", "(a*)*b", "(a|b)*a(a|b){20}", "(.*a.{12})", "((a{0,30}){0,30}){0,30}",
    "(((a?){30}){30}){30}", "a?" * 30 + "a" * 30, "(.{0,10}){10}", ".{5,10}.{5,10}.{5,10}", "x{1000000000}",
    "x{1000000000000}", "(" * 50 + "a" + ")*" * 50, "((a+)*)+", "(?=a)b", r"\p{L}+", r"(a)\1", "(?i)abc", "[a-z", "(a",
    "a)", "*a", "a**", "a{2}{3}", "a{3,2}", "[]", "[b-a]", "a$b", "a^b", "\\", "{", r"\b", "(?<n>a)", "[[:alpha:]]",
    "a" * 513, "(a|a?|b?)", "(a?|b?)*",
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
