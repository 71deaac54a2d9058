import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.errors import UserError
from opencharacter.records import FORMATS, BadRow, Session, SessionReader, read_sessions
from opencharacter.texts import text_fault

USER, ANSWER = "Why is the sea salty?", "Rivers carry salt."
EXCHANGE = [("user", USER), ("assistant", ANSWER)]
TWO = [*EXCHANGE, ("user", "And lakes?"), ("assistant", "Few are.")]
CASES: list[tuple[str, dict[str, Any], list[list[tuple[str, str]]]]] = [
    ("alpaca", {"instruction": USER, "input": "", "output": ANSWER}, [EXCHANGE]),
    (
        "alpaca",
        {"instruction": "Translate.", "input": "Meer", "output": "sea", "text": "x"},
        [[("user", "Translate.\n\nMeer"), ("assistant", "sea")]],
    ),
    ("alpaca", {"instruction": USER, "input": None, "output": " "}, [[("user", USER)]]),
    (
        "alpaca",
        {
            "instruction": "And rivers?",
            "input": "",
            "output": "No.",
            "history": [[USER, ANSWER], ["And lakes?", "Few are."]],
        },
        [[*TWO, ("user", "And rivers?"), ("assistant", "No.")]],
    ),
    ("alpaca", {"instruction": USER, "output": ANSWER, "history": []}, [EXCHANGE]),
    ("alpaca", {"instruction": USER, "output": ANSWER, "history": None, "tools": "[]", "images": []}, [EXCHANGE]),
    ("lima", {"conversations": [text for _, text in TWO], "source": "stack"}, [TWO]),
    ("lima", {"conversations": [USER]}, [[("user", USER)]]),
    (
        "sharegpt",
        {
            "id": "1",
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": USER},
                {"from": "bing", "value": ANSWER},
                {"from": "user", "value": "And lakes?"},
                {"from": "GPT", "value": "Few are."},
            ],
        },
        [TWO],
    ),
    (
        "messages",
        {
            "messages": [
                {"role": "user", "content": USER, "weight": 0},
                {"role": "assistant", "content": ANSWER, "weight": 1, "tool_calls": None},
            ],
            "chosen": None,
            "rejected": None,
        },
        [EXCHANGE],
    ),
    ("messages", {"messages": [{"role": role, "content": text} for role, text in TWO]}, [TWO]),
    ("messages", {"conversations": [{"role": role, "content": text} for role, text in EXCHANGE]}, [EXCHANGE]),
    (
        "messages",
        {
            "messages": [
                {"role": "developer", "content": "x"},
                {"role": "user", "content": [{"type": "text", "text": USER}]},
            ]
        },
        [[("user", USER)]],
    ),
    (
        "persona_hub_instruction",
        {"input persona": "A sailor", "synthesized text": USER, "description": "instruction"},
        [[("user", USER)]],
    ),
    (
        "self_instruct",
        {
            "instruction": "Translate.",
            "instances": [{"input": "Meer", "output": "sea"}, {"input": "", "output": "?"}],
            "is_classification": False,
        },
        [
            [("user", "Translate.\n\nMeer"), ("assistant", "sea")],
            [("user", "Translate."), ("assistant", "?")],
        ],
    ),
]  # fmt: skip


def _sharegpt(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": text} for role, text in turns]}


def _read(folder: Path, *rows: Any, **options: Any) -> SessionReader:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_sessions(path, **{"corpus": "sea", "licence": "CC0-1.0", "name": "rows.jsonl", **options})


def _turns(reader: SessionReader) -> list[list[tuple[str, str]]]:
    return [[(turn.role, turn.content) for turn in row.turns] for row in reader if isinstance(row, Session)]


def test_the_cases_cover_every_format() -> None:
    assert {name for name, _, _ in CASES} == set(FORMATS)


@pytest.mark.parametrize(("name", "row", "turns"), CASES)
def test_a_format_is_detected_and_read(tmp_path: Path, name: str, row: Any, turns: Any) -> None:
    detected = _read(tmp_path, row)
    assert detected.format == name
    assert _turns(detected) == turns
    assert _turns(_read(tmp_path, row, format=name)) == turns


def test_parquet_columns_are_detected_like_keys(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [row for name, row, _ in CASES if name == "sharegpt"]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    reader = read_sessions(tmp_path / "rows.parquet", corpus="sea", licence="CC0-1.0", format="parquet")
    assert _turns(reader) == [TWO]


def test_lineage_is_on_each_session_and_its_id_is_a_content_address(tmp_path: Path) -> None:
    row = {"instruction": USER, "output": ANSWER}
    (session,) = _read(tmp_path, row, source="sea-questions")
    assert isinstance(session, Session)
    assert (session.corpus, session.source, session.licence) == ("sea", "sea-questions", "CC0-1.0")
    (again,) = _read(tmp_path, {"conversations": [USER, ANSWER]}, source="other", licence="MIT")
    (elsewhere,) = _read(tmp_path, row, corpus="lakes")
    (changed,) = _read(tmp_path, {"instruction": USER, "output": ANSWER + "!"})
    assert session.id == again.id
    assert len({session.id, elsewhere.id, changed.id}) == 3


def test_leading_system_turns_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [row for name, row, _ in CASES if name == "sharegpt"]
    reader = _read(tmp_path, *rows, *rows)
    assert _turns(reader) == [TWO, TWO]
    assert reader.system_turns_dropped == 2


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": USER, "output": ANSWER, "system": "Be brief."},
        {"instruction": USER, "output": ANSWER, "system_prompt": "Be brief."},
        {"conversations": [{"from": "human", "value": USER}, {"from": "gpt", "value": ANSWER}], "system": "Be brief."},
        {"conversations": [{"from": "system", "value": "x"}, {"from": "human", "value": USER},
                           {"from": "gpt", "value": ANSWER}], "system": "Be brief."},
        {"messages": [{"role": "user", "content": USER}, {"role": "assistant", "content": ANSWER}],
         "system": "Be brief."},
    ],
)  # fmt: skip
def test_a_system_prompt_in_a_column_is_counted_like_a_turn_and_changes_no_address(tmp_path: Path, row: Any) -> None:
    reader = _read(tmp_path, row)
    (session,) = reader
    assert isinstance(session, Session)
    assert reader.system_turns_dropped == 1
    (plain,) = _read(tmp_path, {"instruction": USER, "output": ANSWER, "system": "", "system_prompt": None})
    assert isinstance(plain, Session)
    assert session.id == plain.id


INVISIBLE = [
    "\u200b",
    "\u2060",
    "\u00ad",
    "\u2800",
    "\u3164",
    "\ufeff",
    "\ufe0f",
    "\u200e\u202e\u2066",
    "\U000e0100",
    " \x00",
    "\x85",
]


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_texts_that_nobody_sees_are_empty(tmp_path: Path, text: str) -> None:
    rows = list(_read(tmp_path, _sharegpt(("human", text), ("gpt", "b")), _sharegpt(("human", "a"), ("gpt", text * 3))))
    assert [row.reason for row in rows if isinstance(row, BadRow)] == ["a turn is empty"] * 2
    (unanswered,) = _read(tmp_path, {"instruction": USER, "input": text, "output": text})
    assert isinstance(unanswered, Session)
    assert [turn.content for turn in unanswered.turns] == [USER]


def test_a_nul_makes_a_turn_bad_and_invisible_marks_within_a_text_stay(tmp_path: Path) -> None:
    (bad,) = _read(tmp_path, _sharegpt(("human", "a\0b"), ("gpt", "c")))
    assert isinstance(bad, BadRow)
    assert bad.reason == "a turn holds a NUL character"
    kept = "\u200fשלום\u200f ❤\ufe0f 👩\u200d🚀"
    (session,) = _read(tmp_path, _sharegpt(("human", kept), ("gpt", "c")))
    assert isinstance(session, Session)
    assert session.user_turns == [kept]


def test_columns_without_a_value_do_not_decide_the_format(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"instruction": None, "output": None, "synthesized text": None, "instances": None, "messages": None,
             "conversations": [{"from": "human", "value": USER, "role": None, "content": None},
                               {"from": "gpt", "value": ANSWER, "role": None, "content": None}],
             "system": None, "history": None, "chosen": None, "rejected": None, "tools": None}] * 3  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    reader = read_sessions(tmp_path / "rows.parquet", corpus="sea", licence="x")
    assert reader.format == "sharegpt"
    assert _turns(reader) == [EXCHANGE] * 3


def test_empty_texts_do_not_decide_the_format(tmp_path: Path) -> None:
    row = {
        "instruction": "",
        "input": "",
        "output": "",
        "synthesized text": " ",
        **_sharegpt(("human", "a"), ("gpt", "b")),
    }
    assert _read(tmp_path, row).format == "sharegpt"


def test_preference_data_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows\.jsonl: preference data .*'chosen' and 'rejected'") as refused:
        _read(tmp_path, {"prompt": USER, "chosen": ANSWER, "rejected": "No idea."})
    assert "messages" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (_sharegpt(("gpt", "a"), ("human", "b")), "the first turn is not the user's"),
        (_sharegpt(("human", "a"), ("human", "b")), "two user turns in a row"),
        (_sharegpt(("human", "a"), ("gpt", "b"), ("bard", "c")), "two assistant turns in a row"),
        (_sharegpt(("human", "a"), ("system", "b"), ("gpt", "c")), "a system turn stands inside the conversation"),
        (_sharegpt(("human", "a"), ("gpt", " \n")), "a turn is empty"),
        (_sharegpt(("human", "a"), ("narrator", "b")), "unknown speaker 'narrator'"),
        (_sharegpt(("human", "a"), ("gpt", None)), "'value' is missing"),
        (_sharegpt(("human", "a"), ("gpt", 7)), "'value' is not text"),
        (_sharegpt(("system", "a")), "no turns"),
        (_sharegpt(), "no turns"),
        ({"conversations": "human: a"}, "'conversations' is not a list"),
        ({"conversations": ["a", "b"]}, "'conversations' is not a list of 'from' and 'value'"),
        ({"id": 1}, "'conversations' is missing"),
        (["a"], "not a JSON object"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_reason(tmp_path: Path, row: Any, reason: str) -> None:
    good = _sharegpt(("human", "a"), ("gpt", "b"))
    rows = list(_read(tmp_path, good, row, good, format="sharegpt"))
    assert [type(found) for found in rows] == [Session, BadRow, Session]
    assert isinstance(rows[1], BadRow)
    assert (rows[1].file, rows[1].line, rows[1].reason) == ("rows.jsonl", 2, reason)
    assert json.loads(rows[1].excerpt) == row


@pytest.mark.parametrize(
    ("row", "format", "reason"),
    [
        ({"instruction": "a", "output": None}, "alpaca", "'output' is missing"),
        ({"instruction": " ", "output": "b"}, "alpaca", "a turn is empty"),
        ({"instruction": "a", "instances": []}, "self_instruct", "'instances' is not a list of input and output"),
        ({"conversations": ["a", 7]}, "lima", "'conversations' is not a list of texts"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages",
         "a message has the role 'tool'; only user, assistant and system are understood"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages",
         "'content' holds parts that are not text"),
        ({"instruction": "a", "output": "b", "history": "x"}, "alpaca", "'history' is not a list"),
        ({"instruction": "a", "output": "b", "history": [["x"]]}, "alpaca",
         "'history' is not a list of pairs of question and answer"),
        ({"instruction": "a", "output": "b", "history": [["x", " "]]}, "alpaca", "a turn is empty"),
        ({"instruction": "a", "output": "b", "kto_tag": False}, "alpaca", "'kto_tag' marks the answer as a bad one"),
        ({"instruction": "a", "chosen": "b", "rejected": "c", "output": "b"}, "alpaca",
         "a preference row ('chosen' and 'rejected'), which is not read"),
        ({**_sharegpt(("human", "a")), "chosen": {"from": "gpt", "value": "b"},
          "rejected": {"from": "gpt", "value": "c"}}, "sharegpt",
         "a preference row ('chosen' and 'rejected'), which is not read"),
        ({**_sharegpt(("human", "a"), ("gpt", "b")), "tools": '[{"name": "search"}]'}, "sharegpt",
         "the row has 'tools', which are not read"),
        ({"instruction": "a", "output": "b", "images": ["x.png"]}, "alpaca",
         "the row has 'images', which are not read"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 0}]}, "sharegpt",
         "an answer has weight 0: it is not to be trained on"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]},
         "messages", "an answer has weight 0: it is not to be trained on"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "train": False}]},
         "messages", "an answer is marked as not to be trained on"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0.5}]},
         "messages", "an answer has the weight 0.5; only 0 and 1 are understood"),
        ({"messages": [{"role": "user", "content": "a"},
                       {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}]},
         "messages", "a turn has 'tool_calls', which are not read"),
        ({"synthesized text": ["a"]}, "persona_hub_instruction", "'synthesized text' is not text"),
    ],
)  # fmt: skip
def test_faults_of_the_other_formats_have_their_reasons(tmp_path: Path, row: Any, format: str, reason: str) -> None:
    (found,) = _read(tmp_path, row, format=format)
    assert isinstance(found, BadRow)
    assert found.reason == reason


def test_detection_goes_by_the_majority_and_survives_a_bad_start(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"instruction": USER, "output": ANSWER}] * 2
    path.write_text('{"cut\n{"synthesized text": "x"}\n' + "\n".join(map(json.dumps, rows)), encoding="utf-8")
    reader = read_sessions(path, corpus="sea", licence="x")
    assert reader.format == "alpaca"
    assert [isinstance(row, BadRow) for row in reader] == [True, True, False, False]


def test_limit_counts_rows_of_the_file(tmp_path: Path) -> None:
    rows = [{"instruction": f"{USER} {number}", "output": ANSWER} for number in range(99)]
    assert len(list(_read(tmp_path, *rows, limit=70))) == 70


def test_what_cannot_be_read_at_all_is_told_before_the_first_row(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"rows\.jsonl: unknown format; the row at line 1 has the keys 'q', 'a'"
    ) as told:
        _read(tmp_path, {"q": USER, "a": ANSWER})
    assert "alpaca" in str(told.value.hint)
    with pytest.raises(UserError, match="unknown format 'alpacca'; known: auto, "):
        _read(tmp_path, {"q": USER}, format="alpacca")
    with pytest.raises(UserError, match="is empty"):
        _read(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_sessions(tmp_path / "absent.jsonl", corpus="sea", licence="x")


_scalar = st.none() | st.booleans() | st.integers(-1, 2) | st.floats(allow_nan=False) | st.sampled_from(
    ["", " ", "a", "\u200b", "b\0", "[", "[[\"a\", \"b\"]]", "[1]", "{}", "user", "human", "assistant", "gpt", "system"]
)  # fmt: skip
_turn_key = st.sampled_from(
    ["role", "content", "from", "value", "weight", "train", "tool_calls", "function_call", "type", "text"]
)
_turn = st.dictionaries(
    _turn_key, _scalar | st.lists(_scalar | st.dictionaries(_turn_key, _scalar), max_size=2), max_size=4
)
_row_key = st.sampled_from(
    ["instruction", "input", "output", "history", "system", "system_prompt", "conversations", "messages", "instances",
     "synthesized text", "chosen", "rejected", "tools", "images", "kto_tag", "persona"]
)  # fmt: skip
_row = st.dictionaries(
    _row_key, _scalar | st.lists(_turn | _scalar | st.lists(_scalar, max_size=2), max_size=3) | _turn, max_size=6
)


@given(
    st.lists(_row | _scalar | st.lists(_row, max_size=2), min_size=1, max_size=4), st.sampled_from(["auto", *FORMATS])
)
def test_whatever_a_row_holds_it_is_a_session_or_set_aside(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], format: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    with contextlib.suppress(UserError):
        for row in _read(folder, *rows, format=format):
            assert isinstance(row, Session | BadRow)
            if isinstance(row, Session):
                assert all(text_fault(turn.content) is None for turn in row.turns)
