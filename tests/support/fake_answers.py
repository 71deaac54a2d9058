"""What the fake model says: text and JSON as a pure function of a seeded random generator (and of the schema)."""

import json
import random
from typing import Any

_NAMES = ["Adela", "Bruno", "Cosima", "Dario", "Edda", "Farid", "Greta", "Hiro", "Imani", "Jonas", "Kaya", "Leonor"]
_SURNAMES = ["Abara", "Brandt", "Castell", "Duarte", "Eriksen", "Fontaine", "Gruber", "Haddad", "Ito", "Jansen"]
_PLACES = ["Lisbon", "Accra", "Bergen", "Cusco", "Dunedin", "Esfahan", "Fez", "Ghent", "Hanoi", "Izmir"]
_WHO = """the captain|my sister|an old friend|the baker|our teacher|a stranger|the gardener|my neighbour|the pilot
a shepherd|the tailor|my grandfather|the mayor|a young clerk|the innkeeper|a fisherman""".replace("\n", "|").split("|")
_DID = """carried|mended|painted|forgot|sold|traded|counted|measured|hid|washed|borrowed|dropped|polished|found
studied|sketched|weighed|returned|buried|wrapped""".replace("\n", "|").split("|")
_WHAT = """a copper lamp|the broken clock|three letters|a silver key|the wooden boat|some bitter tea|a heavy coat
the village map|a jar of honey|two grey pigeons|the last ticket|a cracked bell|her blue notebook|a bag of nails
the ferry timetable|a basket of figs|an empty drawer|the harbour gate""".replace("\n", "|").split("|")
_WHEN = """before sunrise|after the storm|during the long winter|on market day|near the old bridge|without a word
behind the station|at the edge of town|in spring|while it rained|under a pale moon|between two trains|all afternoon
on the way home|across the valley|for the third time""".replace("\n", "|").split("|")


def sentence(rng: random.Random) -> str:
    """One English sentence of some eight to fourteen words."""
    text = " ".join(rng.choice(words) for words in (_WHO, _DID, _WHAT, _WHEN))
    return text[0].upper() + text[1:] + rng.choice([".", ".", ".", "!"])


def prose(rng: random.Random, sentences: int | None = None) -> str:
    """Two to five sentences, or the number asked for."""
    return " ".join(sentence(rng) for _ in range(sentences or rng.randint(2, 5)))


def person_name(rng: random.Random) -> str:
    """A first name and a surname."""
    return f"{rng.choice(_NAMES)} {rng.choice(_SURNAMES)}"


def from_schema(schema: dict[str, Any], rng: random.Random) -> Any:
    """A value that satisfies a JSON schema (the subset that structured output uses)."""
    return _value(schema, schema.get("$defs", {}), rng, "")


def embedded_schema(text: str) -> dict[str, Any] | None:
    """The first JSON schema of an object that stands in a prompt, for calls without `response_format`."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(text, start)
        except ValueError:
            value = None
        if isinstance(value, dict) and value.get("type") == "object" and "properties" in value:
            return value
        start = text.find("{", start + 1)
    return None


def _value(schema: dict[str, Any], defs: dict[str, Any], rng: random.Random, key: str) -> Any:
    if "$ref" in schema:
        return _value(defs[schema["$ref"].rsplit("/", 1)[-1]], defs, rng, key)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return _value(schema[union][0], defs, rng, key)
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return {name: _value(part, defs, rng, name) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        low = schema.get("minItems", 1)
        count = rng.randint(low, schema.get("maxItems", max(low, 3)))
        first = schema.get("prefixItems", [])
        return [_value(part, defs, rng, key) for part in (*first, *[schema.get("items", {})] * (count - len(first)))]
    if kind == "integer":
        low = int(schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema)))
        return rng.randint(low, int(schema.get("maximum", low + 9)))
    if kind == "number":
        low = float(schema.get("minimum", 0))
        return round(rng.uniform(low, float(schema.get("maximum", low + 1))), 3)
    if kind == "boolean":
        return rng.random() < 0.5
    return None if kind == "null" else _string(schema, rng, key)


def _string(schema: dict[str, Any], rng: random.Random, key: str) -> str:
    known = {
        "name": lambda: person_name(rng),
        "age": lambda: str(rng.randint(19, 88)),
        "gender": lambda: rng.choice(["female", "male", "non-binary"]),
        "birth_place": lambda: rng.choice(_PLACES),
    }
    text = known[key]() if key in known else prose(rng)
    while len(text) < schema.get("minLength", 0):
        text += " " + sentence(rng)
    return text[: schema.get("maxLength", len(text))]
