"""Constraints of an answer that would stall an engine, as fields of a request."""

import json
from typing import Any

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
    "a schema as a text": {"structured_outputs": {"json": json.dumps(TEXT)}},
    "a type that is none": of({"type": "text"}),
    "a schema that is none": of({"properties": {"a": "string"}}),
    "no schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
    "no type": {"response_format": {"schema": {}}},
    "no object": {"response_format": "json"},
}


HARMFUL = [
    "(a+)+b", "(.*)*", "(.*)*(.*)*(.*)*x", "(a*)*b", "(a|b)*a(a|b){20}", "(.*a.{12})", "((a{0,30}){0,30}){0,30}",
    "(((a?){30}){30}){30}", "a?" * 30 + "a" * 30, "(.{0,10}){10}",
    "(.{2})*", "(.{1,2})*", r"(\w{1,9} ){1,9}", "([a-z]{2})+", ".{5,10}.{5,10}.{5,10}", "x{1000000000}",
    "x{1000000000000}", "(" * 50 + "a" + ")*" * 50, "((a+)*)+", "(?=a)b", r"\p{L}+", r"(a)\1", "(?i)abc", "[a-z", "(a",
    "a)", "*a", "a**", "a{2}{3}", "a{3,2}", "[]", "[b-a]", "a$b", "a^b", "\\", "{", r"\b", "(?<n>a)", "[[:alpha:]]",
    "a" * 513, "(a|a?|b?)", "(a?|b?)*",
]  # fmt: skip
"""Regular expressions."""
