import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opencharacter.characters import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.evaluation.judges.label_server import label_server
from opencharacter.evaluation.judges.labelling import Labelling, LabelTask, choose_tasks, label_tasks, rating_tasks
from opencharacter.evaluation.judges.labels import people, read_labels
from opencharacter.records.evaluation import AnswerRow
from opencharacter.records.models import Turn

CHARACTERS = [CharacterProfile(name=f"Ada {n}", experience="mends nets") for n in range(4)]


def _answers(*models: str, items: int = 8) -> list[AnswerRow]:
    return [
        AnswerRow(
            suite="frozen",
            question_id=f"i{item}",
            character_id=CHARACTERS[item % 4].id,
            session_id=f"s{item}",
            cell=None,
            model=model,
            status="ok",
            conversation=[Turn(role="user", content="Who are you?")],
            answer=f"{'better' if model == 'good' else 'worse'} {item}",
        )
        for item in range(items)
        for model in models
    ]


def _tasks(*models: str) -> list[LabelTask]:
    return label_tasks(_answers(*models), {character.id: character for character in CHARACTERS})


def test_two_models_are_compared_and_one_is_rated() -> None:
    assert {(task.key.model, task.key.rival, task.key.metric) for task in _tasks("bad", "good")} == {
        ("bad", "good", "preference")
    }
    assert {(task.key.model, task.key.rival, task.key.metric) for task in _tasks("good")} == {("good", None, "overall")}
    with pytest.raises(UserError, match="no answer to label"):
        label_tasks([], {})


def test_answers_that_say_the_same_are_not_shown() -> None:
    same = [row.model_copy(update={"answer": "the same"}) for row in _answers("bad", "good", items=1)]
    assert label_tasks(same, {}) == []


def test_a_sample_is_spread_over_characters() -> None:
    assert len({task.cluster for task in choose_tasks(_tasks("bad", "good"), 4, seed=1)}) == 4


def test_ratings_of_two_models_are_of_the_same_questions_and_never_in_a_row() -> None:
    tasks = choose_tasks(rating_tasks(_answers("bad", "good"), {c.id: c for c in CHARACTERS}), 4, seed=1)
    items = [task.key.question_id for task in tasks]
    assert (len(items), items[:4]) == (8, items[4:])
    assert {(task.key.model, task.key.metric) for task in tasks} == {("bad", "overall"), ("good", "overall")}
    assert len({task.key.model for task in tasks[:4]}) == 2, "both models are among the first ones"


def _label_all(labelling: Labelling, rater: str, count: int = 100) -> None:
    """A rater who always finds the good answer better."""
    while (place := labelling.next_place(rater)) is not None and count:
        shown = labelling.show(rater, place)
        labelling.add(rater, place, "1" if shown["answers"][0].startswith("better") else "2")
        count -= 1


def test_the_page_hides_the_models_and_turns_the_answers_for_each_rater(tmp_path: Path) -> None:
    labelling = Labelling(_tasks("bad", "good"), tmp_path / "labels.jsonl")
    shown = [labelling.show(rater, place) for rater in ("anna", "bert") for place in range(8)]
    assert not any(word in json.dumps(shown) for word in ("good", "bad", "frozen"))
    firsts = [task["answers"][0].split()[0] for task in shown]
    assert {"better", "worse"} == set(firsts[:8]) == set(firsts[8:])
    assert firsts[:8] != firsts[8:]
    _label_all(labelling, "anna")
    assert set(people(read_labels(tmp_path / "labels.jsonl")).values()) == {0.0}  # `bad` comes first in each key


def test_a_stopped_session_continues_and_a_label_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    _label_all(Labelling(_tasks("bad", "good"), path), "anna", count=3)
    again = Labelling(_tasks("bad", "good"), path)
    assert (again.done, again.next_place("anna"), again.next_place("bert")) == ({"anna": 3}, 3, 0)
    given = again.show("anna", 0)["given"]
    assert given in {"1", "2"}
    again.add("anna", 0, "0")
    assert again.show("anna", 0)["given"] == "0"
    assert Labelling(_tasks("bad", "good"), path).show("anna", 0)["given"] == "0"


def test_a_file_of_labels_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    _label_all(Labelling(_tasks("bad", "good"), path), "anna")
    with pytest.raises(UserError, match="no answer of bad and good"):
        Labelling(_tasks("bad", "other"), path)


def test_two_raters_agreement_is_shown(tmp_path: Path) -> None:
    labelling = Labelling(_tasks("good"), tmp_path / "labels.jsonl")
    for place in range(8):
        labelling.add("anna", place, str(place % 5 + 1))
        labelling.add("bert", place, str(place % 5 + 1))
    (found,) = labelling.agreement()
    assert (found.raters, found.alpha.value, found.alpha.n) == (("anna", "bert"), 1.0, 8)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[int]:
    with label_server(Labelling(_tasks("bad", "good"), tmp_path / "labels.jsonl")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def _ask(port: int, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    text = None if body is None else json.dumps(body)
    connection.request("GET" if text is None else "POST", path, text, headers)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, json.loads(content) if reply.getheader("Content-Type") == "application/json" else content


JSON = {"Content-Type": "application/json"}


def test_a_session_over_the_page(served: int, tmp_path: Path) -> None:
    status, page = _ask(served, "/")
    assert status == 200
    assert b"http" not in page.replace(b"http-equiv", b"")  # nothing is fetched from elsewhere
    status, shown = _ask(served, "/task?rater=anna")
    while "place" in shown:
        assert status == 200
        label = {"rater": "anna", "place": shown["place"], "choice": "1"}
        status, shown = _ask(served, "/label", label, **JSON)
    assert shown == {"finished": True, "done": {"anna": 8}, "agreement": []}
    assert len(read_labels(tmp_path / "labels.jsonl")) == 8


@pytest.mark.parametrize(
    "body",
    [
        {"rater": "anna", "place": 99, "choice": "1"},
        {"rater": "anna", "place": 0, "choice": "9"},
        {"rater": " ", "place": 0, "choice": "1"},
        {"rater": "anna"},
        [],
    ],
)
def test_what_is_no_label_is_refused_and_not_written(served: int, tmp_path: Path, body: object) -> None:
    status, content = _ask(served, "/label", body, **JSON)
    assert status == 400
    assert content["error"]
    assert not (tmp_path / "labels.jsonl").exists()


def test_other_sites_reach_nothing(served: int, tmp_path: Path) -> None:
    label = {"rater": "anna", "place": 0, "choice": "1"}
    assert _ask(served, "/label", label, **{"Content-Type": "text/plain"})[0] == 404
    assert _ask(served, "/task?rater=anna", Host="evil.example")[0] == 403
    assert _ask(served, "/label", label, Host="evil.example", **JSON)[0] == 403
    assert not (tmp_path / "labels.jsonl").exists()


def test_a_port_that_is_taken_is_one_clear_error(served: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"port {served}: Address already in use"):
        label_server(Labelling(_tasks("good"), tmp_path / "other.jsonl"), served)
