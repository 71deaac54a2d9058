import json
from pathlib import Path

import pytest

from opencharacter.errors import UserError
from opencharacter.evaluation.judges.labels import Label, LabelKey, append_label, people, read_labels

PAIR = LabelKey("frozen", "i1", 0, "preference", "a", "b")
RATED = LabelKey("frozen", "i1", 0, "overall", "a", None)


def _write(path: Path, *lines: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def _pair(**more: object) -> dict[str, object]:
    return {"suite": "frozen", "question_id": "i1", "model": "a", "rival": "b", "score": 1, "rater": "anna"} | more


def test_what_is_written_is_read_and_a_later_label_replaces_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    for score in (0.0, 1.0):
        append_label(path, Label(**_pair(score=score)))
    append_label(path, Label(**_pair(rater="bert", score=0.5)))
    labels = read_labels(path, {PAIR})
    assert [(label.rater, label.score) for label in labels] == [("anna", 1.0), ("bert", 0.5)]
    assert people(labels) == {PAIR: 0.75}


def test_a_comparison_in_the_other_order_is_the_same_one(tmp_path: Path) -> None:
    path = _write(tmp_path / "l.jsonl", _pair(model="b", rival="a", score=0))
    assert people(read_labels(path, {PAIR})) == {PAIR: 1.0}


def test_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("suite,question_id,metric,model,rival,score,rater\nfrozen,i1,overall,a,,4,anna\n")
    assert people(read_labels(path, {RATED})) == {RATED: 4.0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (_pair(question_id="i9"), "l.jsonl:2: no answer of a and b to item 'i9' of suite 'frozen'"),
        (_pair(score=4), "l.jsonl:2: score: expected 0, 0.5 or 1 for two answers, got 4"),
        (_pair(rival=None), "l.jsonl:2: metric: 'preference' is for two answers"),
        (_pair(metric="overall"), "l.jsonl:2: metric: 'preference' is for two answers"),
        (_pair(sore=4), "l.jsonl:2: sore: Extra inputs are not permitted"),
        (_pair(score="good"), "l.jsonl:2: score: "),
    ],
)
def test_a_bad_line_is_one_error_that_names_it(tmp_path: Path, line: dict[str, object], message: str) -> None:
    path = _write(tmp_path / "l.jsonl", _pair(), line)
    with pytest.raises(UserError) as caught:
        read_labels(path, {PAIR, RATED})
    assert message in str(caught.value)
    assert caught.value.hint


def test_many_unknown_ids_are_one_error_with_their_number(tmp_path: Path) -> None:
    path = _write(tmp_path / "l.jsonl", _pair(), *(_pair(question_id=f"x{i}") for i in range(5)))
    with pytest.raises(UserError, match=r"l\.jsonl:2: .* \(5 lines in all\)"):
        read_labels(path, {PAIR})


def test_a_file_that_is_none_or_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_labels(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="holds no label"):
        read_labels(tmp_path / "empty.jsonl")
    (tmp_path / "page.jsonl").write_text("\n<html>\n")
    with pytest.raises(UserError, match=r"page\.jsonl:2: not a JSON object"):
        read_labels(tmp_path / "page.jsonl")
