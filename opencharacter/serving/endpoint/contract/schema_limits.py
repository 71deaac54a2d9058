"""What a JSON schema costs the engine, which makes a grammar of it and compiles that against its whole vocabulary.

Keywords are an allow-list: those that xgrammar (vLLM's usual compiler) knows in full, and notes for people. For others
vLLM takes another compiler, for this request and every later one. Each keyword has a price in milliseconds of compiling
on one core for a vocabulary of 128,000 tokens, measured with xgrammar 0.2.8; the sum has a limit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson

from opencharacter.serving.endpoint.contract.regex_limits import regex_cost
from opencharacter.serving.endpoint.settings import EndpointSettings

_TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
_FORMATS = {
    "date": 1, "time": 1, "date-time": 1, "duration": 2, "ipv4": 1, "ipv6": 4, "uuid": 1, "json-pointer": 3,
    "relative-json-pointer": 3, "hostname": 21, "email": 70, "uri": 60, "uri-reference": 66,
}  # fmt: skip
_NOTES = frozenset(
    {
        "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "nullable",
        "discriminator", "strict", "$schema", "$id", "$comment",
    }
)  # fmt: skip
_SCHEMA_KEYS = frozenset({"items", "additionalProperties"})
_LIST_KEYS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_MAP_KEYS = frozenset({"properties", "$defs", "definitions"})
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_OTHER_KEYS = frozenset({"type", "required", "enum", "const", "$ref", "pattern", "format"})
_CHOICES = ("anyOf", "oneOf", "allOf")

_SCHEMA_COST = 1
_CHARACTERS_OF_COST = 50
"""Characters of names and values for a cost of 1."""
_BOUND_COST = 1
_LENGTH_COST = 30
"""Of each character of a length: the compiler makes a state of each, and tries all tokens in each state."""
_LENGTHS = 200
"""From here on it counts instead."""
_MAX_COUNT = 10_000
_MAX_BOUND = 1 << 63
_MAX_PASSES = 20


class SchemaRefused(ValueError):
    """A schema that is not accepted; the message begins with the path in it."""


def schema_cost(schema: dict[str, Any], settings: EndpointSettings) -> float:
    """About as many milliseconds as compiling the schema takes.

    Args:
        schema: As JSON has it.
        settings: `max_schema_bytes`, `max_schema_properties`, `max_schema_depth`, `max_enum_values`.

    Raises:
        SchemaRefused: A keyword or a value is not accepted.
    """
    try:
        size = len(orjson.dumps(schema))
    except TypeError as error:
        raise SchemaRefused("is nested too deeply, or holds a number beyond 64 bits") from error
    if size > settings.max_schema_bytes:
        raise SchemaRefused(f"has {size} bytes; at most {settings.max_schema_bytes} are allowed")
    checked = _Schema(schema, settings)
    checked.walk(schema, "", 1)
    if checked.cost <= settings.max_grammar_cost:
        checked.check_references()
    return checked.cost


class _Schema:
    def __init__(self, root: dict[str, Any], settings: EndpointSettings) -> None:
        self.cost = 0.0
        self._root = root
        self._settings = settings
        self._properties = 0

    def walk(self, schema: Any, path: str, depth: int) -> None:
        """Check a schema and those within it, and add up their costs."""
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            raise SchemaRefused(f"{path or 'the schema'} is not a schema")
        if depth > self._settings.max_schema_depth:
            raise SchemaRefused(f"{path[:200]} is nested more than {self._settings.max_schema_depth} levels deep")
        self.cost += _SCHEMA_COST
        for keyword, value in schema.items():
            where = f"{path}.{keyword[:64]}".removeprefix(".")
            if keyword in _NOTES or keyword.startswith("x-"):
                if _has_objects(value):
                    raise SchemaRefused(f"{where} holds objects; a note is a text, a number or a list of these")
            elif keyword in _SCHEMA_KEYS:
                self.walk(value, where, depth + 1)
            elif keyword in _LIST_KEYS:
                self._walk_list(keyword, value, where, depth)
            elif keyword in _MAP_KEYS:
                self._walk_map(keyword, value, where, depth)
            elif keyword in _COUNTS or keyword in _BOUNDS or keyword in _OTHER_KEYS:
                self._check_value(keyword, value, where)
            else:
                raise SchemaRefused(f"{where} is a keyword that this endpoint does not take")
        self._add_text(schema, path)

    def _walk_list(self, keyword: str, value: Any, path: str, depth: int) -> None:
        if not isinstance(value, list) or not value:
            raise SchemaRefused(f"{path} is not a list of schemas")
        if keyword == "allOf" and len(value) > 1:
            raise SchemaRefused(f"{path} has more than one schema, which the model server does not take together")
        for position, inner in enumerate(value):
            self.walk(inner, f"{path}[{position}]", depth + 1)

    def _walk_map(self, keyword: str, value: Any, path: str, depth: int) -> None:
        if not isinstance(value, dict):
            raise SchemaRefused(f"{path} is not an object of schemas")
        if keyword == "properties":
            self._properties += len(value)
            if self._properties > self._settings.max_schema_properties:
                raise SchemaRefused(
                    f"{path} is beyond {self._settings.max_schema_properties} properties, which are allowed in all"
                )
        for name, inner in value.items():
            self.cost += len(name) / _CHARACTERS_OF_COST
            self.walk(inner, f"{path}.{name[:64]}", depth + 1)

    def _check_value(self, keyword: str, value: Any, path: str) -> None:
        if keyword in _COUNTS:
            if type(value) is not int or not 0 <= value <= _MAX_COUNT:
                raise SchemaRefused(f"{path} is not a whole number from 0 to {_MAX_COUNT}")
        elif keyword in _BOUNDS:
            if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= _MAX_BOUND:
                raise SchemaRefused(f"{path} is not a number of 64 bits")
            self.cost += _BOUND_COST
        elif keyword in ("enum", "const"):
            self._check_values(keyword, value, path)
        elif keyword == "type":
            types = value if isinstance(value, list) else [value]
            if not types or not all(isinstance(one, str) and one in _TYPES for one in types):
                raise SchemaRefused(f"{path} is not one of {', '.join(_TYPES)}, or a list of these")
            self.cost += len(types) - 1
        elif keyword == "required":
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise SchemaRefused(f"{path} is not a list of names")
        elif keyword == "$ref":
            self._resolve(value, path)

    def _check_values(self, keyword: str, value: Any, path: str) -> None:
        if keyword == "enum":
            if not isinstance(value, list) or not 1 <= len(value) <= self._settings.max_enum_values:
                raise SchemaRefused(f"{path} is not a list of 1 to {self._settings.max_enum_values} values")
            if _has_objects(value):
                raise SchemaRefused(f"{path} holds objects; its values are texts, numbers, true, false or null")
        self.cost += len(orjson.dumps(value)) / _CHARACTERS_OF_COST

    def _add_text(self, schema: Mapping[str, Any], path: str) -> None:
        """The cost of what constrains a text."""
        lengths = max(schema.get("minLength", 0), min(schema.get("maxLength", 0), _LENGTHS))
        self.cost += _LENGTH_COST * min(lengths, _LENGTHS)
        for keyword in ("pattern", "format"):
            value = schema.get(keyword)
            if value is None:
                continue
            where = f"{path}.{keyword}".removeprefix(".")
            if not isinstance(value, str):
                raise SchemaRefused(f"{where} is not a text")
            if lengths or ("pattern" in schema and "format" in schema):
                raise SchemaRefused(f"{where} stands beside another limit of the text, which the model server refuses")
            if keyword == "format":
                if value not in _FORMATS:
                    raise SchemaRefused(f"{where} is none of {', '.join(_FORMATS)}")
                self.cost += _FORMATS[value]
                continue
            try:
                self.cost += regex_cost(value)
            except ValueError as error:
                raise SchemaRefused(f"{where} {error}") from error

    def _resolve(self, reference: Any, path: str) -> Any:
        """The schema that a reference means: the whole, or a definition."""
        if reference == "#":
            return self._root
        parts = reference.split("/") if isinstance(reference, str) else []
        if len(parts) == 3 and parts[0] == "#" and parts[1] in ("$defs", "definitions"):
            definitions = self._root.get(parts[1])
            name = parts[2].replace("~1", "/").replace("~0", "~")
            if isinstance(definitions, dict) and name in definitions:
                return definitions[name]
        raise SchemaRefused(f"{path} does not name a definition of this schema, such as '#/$defs/NAME'")

    def check_references(self) -> None:
        """Raise `SchemaRefused` for references that lead to themselves, or need themselves without an end."""
        ordered = _inner_first([self._root], self._within)
        _inner_first(ordered, self._at_once, looped="a '$ref' leads back to itself")
        ends: set[int] = set()
        for _ in range(_MAX_PASSES):
            before = len(ends)
            for schema in ordered:
                if self._ends(schema, ends):
                    ends.add(id(schema))
            if len(ends) == before:
                break
        if id(self._root) not in ends:
            raise SchemaRefused("needs itself within itself, without an end")

    def _within(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        for key, value in schema.items():
            if key in _SCHEMA_KEYS:
                yield value
            elif key in _LIST_KEYS:
                yield from value
            elif key in _MAP_KEYS:
                yield from value.values()
            elif key == "$ref":
                yield self._resolve(value, key)

    def _at_once(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        """The schemas that the same value must fit: no value is in between."""
        for key in _CHOICES:
            yield from schema.get(key, ())
        if "$ref" in schema:
            yield self._resolve(schema["$ref"], "$ref")

    def _ends(self, schema: Mapping[str, Any], ends: set[int]) -> bool:
        """Whether some finite value fits, given the schemas of which that is known."""

        def known(inner: Any) -> bool:
            return inner is True or id(inner) in ends

        needed = [schema["prefixItems"]] if "prefixItems" in schema else []
        if schema.get("minItems", 0) > len(schema.get("prefixItems", ())):
            needed.append([schema.get("items", True)])
        properties = schema.get("properties", {})
        needed.append([properties.get(name, True) for name in schema.get("required", ())])
        if "$ref" in schema:
            needed.append([self._resolve(schema["$ref"], "$ref")])
        return all(known(inner) for group in needed for inner in group) and all(
            any(map(known, schema[key])) for key in _CHOICES if key in schema
        )


def _inner_first(
    roots: Iterable[dict[str, Any]],
    inner: Callable[[Mapping[str, Any]], Iterator[Any]],
    *,
    looped: str | None = None,
) -> list[dict[str, Any]]:
    """The schemas and all that they lead to, each after those that it leads to.

    Raises:
        SchemaRefused: With the text `looped`, where one leads back to itself.
    """
    ordered: list[dict[str, Any]] = []
    seen: set[int] = set()
    for root in roots:
        if id(root) in seen:
            continue
        seen.add(id(root))
        path = [(root, inner(root))]
        on_path = {id(root)}
        while path:
            schema, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                on_path.discard(id(schema))
                ordered.append(schema)
            elif isinstance(following, dict):
                if looped and id(following) in on_path:
                    raise SchemaRefused(looped)
                if id(following) not in seen:
                    seen.add(id(following))
                    on_path.add(id(following))
                    path.append((following, inner(following)))
    return ordered


def _has_objects(value: Any) -> bool:
    """Whether there are objects in a note or a list of values; an empty one is none."""
    if isinstance(value, list):
        return any(map(_has_objects, value))
    return isinstance(value, dict) and bool(value)
