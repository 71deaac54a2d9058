"""Checks of an answer by program: each kind has answers that pass and answers that fail."""

from typing import Any

import pytest

from opencharacter.errors import UserError
from opencharacter.evaluation.measures.check_kinds import KINDS, failed_kinds, parse_checks
from opencharacter.evaluation.measures.languages import language_of
from opencharacter.records.evaluation import Check

TABLE = "Here it is:\n\n| Town | People |\n|---|---|\n| Aun | 12 |\n| Bel | 9 |\n\nThat is all."

CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"kind": "characters", "max": 9}, ["Nine now."], ["Ten here.."]),
    (
        {"kind": "words", "exactly": 4},
        ["Two — and two more.", "*nods* I do so"],
        ["Three words only", "one two three four five"],
    ),
    ({"kind": "words", "min": 2, "max": 3}, ["one two", "one two three"], ["one", "1 2 3 4"]),
    (
        {"kind": "sentences", "exactly": 2},
        ["Dr. Ode is in. She waits.", "Is it? It is", 'He said "Go." Then he left.'],
        ["One. Two. Three.", "Only one, e.g. this."],
    ),
    ({"kind": "lines", "exactly": 2}, ["a\n\nb"], ["a", "a\nb\nc"]),
    ({"kind": "paragraphs", "exactly": 2}, ["One.\n\nTwo.", "One.\n \n\nTwo\nstill two."], ["One.\nTwo."]),
    ({"kind": "bullets", "exactly": 2}, ["Look:\n- a\n- b", "* a\n  • b"], ["- a", "1. a\n2. b", "-a\n-b"]),
    ({"kind": "numbered", "exactly": 3}, ["1. a\n2. b\n3) c"], ["1. a\n2. b\n2. c", "- a\n- b\n- c"]),
    ({"kind": "questions", "exactly": 1}, ["Why? Because."], ["Because.", "Why? How?"]),
    ({"kind": "exclamations", "max": 0}, ["Fine."], ["Fine!"]),
    ({"kind": "commas", "max": 0}, ["No pause here."], ["Yes, one."]),
    ({"kind": "word_times", "word": "rain", "exactly": 2}, ["Rain, rain."], ["rain", "Rainy rain", "rain rain rain"]),
    ({"kind": "contains", "words": ["salt", "sea water"]}, ["Salt of the sea\nwater."], ["Salty sea water", "salt"]),
    ({"kind": "contains_any", "words": ["salt", "tin"]}, ["A TIN."], ["tinned"]),
    ({"kind": "excludes", "words": ["very"]}, ["Every day."], ["Very much."]),
    ({"kind": "in_order", "words": ["flour", "eggs"]}, ["Flour, then eggs."], ["Eggs, then flour.", "Flour."]),
    ({"kind": "starts_with", "text": "Dear Tomas"}, ["dear  Tomas, hello"], ["*smiles* Dear Tomas"]),
    ({"kind": "ends_with", "text": "over and out."}, ["Fine. Over and out."], ["Over and out. Bye."]),
    ({"kind": "equals", "values": ["yes", "no"]}, ["Yes.", "**no**"], ["Yes, of course."]),
    ({"kind": "matches", "pattern": r"^\d{4}-\d\d$"}, ["2031-05"], ["May 2031"]),
    ({"kind": "matches_not", "pattern": "(?i)e"}, ["A long solo climb"], ["Here"]),
    ({"kind": "case", "value": "upper"}, ["ALL 4 OF THEM!"], ["All", "123"]),
    ({"kind": "case", "value": "lower"}, ["all of them."], ["All of them."]),
    (
        {"kind": "json", "keys": {"name": "string", "age": "number"}},
        ['{"name": "Ida", "age": 7}', '```json\n{"name": "Ida", "age": 7.5}\n```'],
        [
            '{"name": "Ida"}',
            '{"name": "Ida", "age": "7"}',
            '{"name": "Ida", "age": 7, "x": 1}',
            'Sure: {"name": "Ida", "age": 7}',
        ],
    ),
    (
        {"kind": "json", "type": "array", "items": "string", "length": 2},
        ['["a", "b"]'],
        ['["a"]', '["a", 2]', '{"a": 1, "b": 2}', "a, b", '["a", "b"'],
    ),
    ({"kind": "json", "keys": {"open": "boolean"}, "only": False}, ['{"open": true, "x": 1}'], ['{"open": 1}']),
    (
        {"kind": "table", "columns": ["Town", "People"], "rows": 2},
        [TABLE],
        [TABLE.replace("Town", "City"), "| Town | People |"],
    ),
    ({"kind": "ordered", "by": "alphabet"}, ["- Ash\n- elm\n- Oak", "ash\nelm"], ["- Oak\n- Ash", "Ash, elm, oak"]),
    (
        {"kind": "ordered", "by": "number", "descending": True, "count": 3},
        ["1. 90 km\n2. 15 km\n3. 4 km"],
        ["4\n15\n90", "90\n15"],
    ),
    ({"kind": "ordered", "by": "length"}, ["- ox\n- goat\n- donkey"], ["- goat\n- ox"]),
    (
        {"kind": "each_line", "starts_with": "remember"},
        ["Remember salt.\nRemember bread."],
        ["Remember salt.\nAnd bread."],
    ),
    ({"kind": "each_line", "words": 3, "ends_with": "."}, ["- I bake bread.\n- You eat it."], ["I bake bread.\nGood."]),
    ({"kind": "each_line", "max_words": 2}, ["one two\none"], ["one two three"]),
    ({"kind": "acrostic", "word": "Sea"}, ["Salt\nEels\n*and* anchors"], ["Salt\nEels", "Salt\nEels\nAnchors\nBoats"]),
    (
        {"kind": "number", "value": 1250},
        ["25 times 50 is 1,250.", "**1250**"],
        ["1250 is 25 times 50", "12500", "none"],
    ),
    ({"kind": "number", "value": 2.5, "tolerance": 0.01}, ["About 2.505"], ["2.6", "25"]),
    ({"kind": "number", "value": -3}, ["It is -3.", "= −3"], ["3"]),
    (
        {"kind": "language", "value": "es"},
        ["El pan está en la mesa y la sopa es para los niños."],
        ["The bread is on the table.", "O pão está na mesa e a sopa é para as crianças."],
    ),
]


def kind_of(case: tuple[dict[str, Any], list[str], list[str]]) -> str:
    return "-".join(str(value) for value in case[0].values())[:40]


@pytest.mark.parametrize("case", CASES, ids=kind_of)
def test_answers_pass_or_fail(case: tuple[dict[str, Any], list[str], list[str]]) -> None:
    arguments, passing, failing = case
    checks = parse_checks([Check.model_validate(arguments)], "items.jsonl:1")
    assert [answer for answer in passing if failed_kinds(checks, answer)] == []
    assert [answer for answer in failing if not failed_kinds(checks, answer)] == []


def test_every_kind_has_such_answers() -> None:
    assert {case[0]["kind"] for case in CASES} == KINDS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "word_limit", "max": 3}, "items.jsonl:4: checks[0]: unknown kind 'word_limit'"),
        ({"kind": "words", "maximum": 3}, "maximum"),
        ({"kind": "words"}, "either `exactly`, or `min` or `max`"),
        ({"kind": "words", "exactly": 3, "max": 3}, "either `exactly`, or `min` or `max`"),
        ({"kind": "words", "min": 4, "max": 3}, "min 4 is above max 3"),
        ({"kind": "contains", "words": []}, "words"),
        ({"kind": "matches", "pattern": "(a"}, "pattern: not a regular expression"),
        ({"kind": "each_line"}, "give one of starts_with"),
        ({"kind": "language", "value": "xx"}, "value"),
        ({"kind": "number", "value": "many"}, "value"),
    ],
)
def test_a_wrong_check_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_checks([Check.model_validate(arguments)], "items.jsonl:4")
    assert message in str(caught.value)
    assert str(caught.value).startswith("items.jsonl:4: checks[0]")


def test_an_unknown_kind_is_told_the_known_ones() -> None:
    with pytest.raises(UserError) as caught:
        parse_checks([Check(kind="word_limit")], "x")
    assert "each_line" in str(caught.value.hint)


def test_an_item_without_checks_is_refused() -> None:
    with pytest.raises(UserError, match=r"items\.jsonl:9: checks: the item has none"):
        parse_checks([], "items.jsonl:9")


def test_a_pattern_of_another_suite_does_not_hang() -> None:
    (check,) = parse_checks([Check.model_validate({"kind": "matches", "pattern": r"^(a|a?)+$"})], "x")
    assert not check.passes("a" * 30 + "b")


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "I have never seen the sea, but my mother talks of it when it rains."),
        ("de", "Ich habe das Meer nie gesehen, aber meine Mutter spricht von ihm, wenn es regnet."),
        ("fr", "Je n'ai jamais vu la mer, mais ma mère en parle quand il pleut sur le toit."),
        ("es", "Nunca he visto el mar, pero mi madre habla de él cuando llueve en la casa."),
        ("it", "Non ho mai visto il mare, ma mia madre ne parla quando piove."),
        ("pt", "Nunca vi o mar, mas a minha mãe fala dele quando chove em casa."),
        ("nl", "Ik heb de zee nooit gezien, maar mijn moeder praat erover als het regent."),
        ("ru", "Я никогда не видел моря, но мама говорит о нём, когда идёт дождь."),
        ("el", "Δεν έχω δει ποτέ τη θάλασσα."),
        ("ar", "لم أر البحر قط."),
        ("hi", "मैंने कभी समुद्र नहीं देखा।"),
        ("ja", "私は海を見たことがありません。"),
        ("zh", "我从来没有见过大海。"),
        ("ko", "나는 바다를 본 적이 없습니다."),
        (None, "42"),
        (None, "Zzz brr hmm pff tock."),
    ],
)
def test_the_language_of_a_text(language: str | None, text: str) -> None:
    assert language_of(text) == language
