"""What a second run asks: nothing that was ever answered (counted by the fake server)."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from support.fake_llm import FakeLLM, default_answer
from support.small_suite import FACTS, ITEMS, VOICE, write_suite
from support.weights import write_model_folder

from opencharacter.engines import EngineConfig, VllmServer
from opencharacter.errors import OpenCharacterError
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import load_judge, load_subject
from opencharacter.evaluation.suites import load_suite
from opencharacter.storage.kinds import ANSWERS, SCORES, SUMMARY
from opencharacter.storage.workspace import Artifact, Workspace

EXAMPLES = "Write answers for {{task}} of: {{persona}} to: {{question}}"
WITH_EXAMPLES: dict[str, Any] = {
    "measures": [
        {"kind": "rubric", "tasks": {"voice": "voice.md", "facts": "facts.md"}, "examples": "examples.md"},
    ],
    "texts": {
        "examples.md": EXAMPLES,
        "voice.md": f"{VOICE}\n\n{{{{examples}}}}",
        "facts.md": f"{FACTS}\n\n{{{{examples}}}}",
    },
}

Counts = tuple[int, int, int]
Run = Callable[..., tuple[Counts, Artifact]]


def kind_of(request: dict[str, Any]) -> int:
    """0: an answer, 1: examples, 2: a judgement."""
    first = request["messages"][0]["content"]
    return 2 if first.startswith("You grade") else 1 if first.startswith("Write answers") else 0


@pytest.fixture
def run(fake_llm: FakeLLM, tmp_path: Path, workspace: Workspace) -> Run:
    """Runs the suite with models and judges by name; what was asked, and the output."""

    def run(models: str = "a", judges: str = "x", seed: int = 1, **changes: Any) -> tuple[Counts, Artifact]:
        suite = load_suite(write_suite(tmp_path / "small", **(WITH_EXAMPLES | changes)))
        before = len(fake_llm.calls)
        subjects = [load_subject(name, f"{fake_llm.base_url}#{name}") for name in models]
        engines = {name: EngineConfig(model=f"judge-{name}", base_url=fake_llm.base_url) for name in judges}
        found = run_suites(
            [suite], subjects, [load_judge(*each) for each in engines.items()], workspace=workspace, seed=seed
        )
        kinds = [kind_of(call.request) for call in fake_llm.calls[before:]]
        return (kinds.count(0), kinds.count(1), kinds.count(2)), found["small"]

    return run


def test_a_second_model_reuses_the_examples(run: Run) -> None:
    assert run("a")[0] == (3, 3, 3)
    assert run("ab")[0] == (3, 0, 3)
    assert run("b")[0] == (0, 0, 0)


def test_a_new_judge_asks_for_no_answer(run: Run) -> None:
    run()
    assert run(judges="xy")[0] == (0, 0, 3)
    assert run(judges="y")[0] == (0, 3, 3), "examples are of the judge that wrote them"


def test_a_new_rubric_asks_for_no_answer_and_no_example(run: Run) -> None:
    run()
    texts = WITH_EXAMPLES["texts"] | {"voice.md": "Voice, anew. {{examples}}"}
    assert run(texts=texts)[0] == (0, 0, 2), "two items are of that task"


def test_more_items_and_more_repeats_ask_for_what_is_missing(run: Run) -> None:
    run(items=ITEMS[:1])
    assert run()[0] == (2, 2, 2)
    asked, found = run(answer={"temperature": 0.9, "max_tokens": 200, "repeats": 3})
    assert asked == (6, 0, 6)
    answers = list(ANSWERS.read(found))
    assert {(row.question_id, row.repeat) for row in SCORES.read(found)} == {
        (item["id"], repeat) for item in ITEMS for repeat in range(3)
    }
    assert len({answer.answer for answer in answers}) == len(answers), "each repeat has a seed of its own"


def test_other_weights_under_one_judges_name_ask_again(
    fake_llm: FakeLLM, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []

    @contextmanager
    def serve(weights: Path, *_: Any, **__: Any) -> Iterator[VllmServer]:
        served.append(weights.name)
        yield VllmServer(fake_llm.base_url, 0, tmp_path / "log")

    monkeypatch.setattr("opencharacter.engines.opening.serve_vllm", serve)
    for name in ("old", "new"):
        write_model_folder(tmp_path / name)
    (tmp_path / "new" / "README.md").write_text("other")
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    suite = load_suite(write_suite(tmp_path / "small"))
    subject = load_subject("a", f"{fake_llm.base_url}#a")

    def judge_with(folder: str) -> tuple[int, set[str | None]]:
        before = len(fake_llm.calls)
        judge = load_judge("judge", EngineConfig(model="the-judge", weights=str(tmp_path / folder)))
        found = run_suites([suite], [subject], [judge], workspace=workspace)["small"]
        asked = sum(kind_of(call.request) == 2 for call in fake_llm.calls[before:])
        return asked, {row.judge for row in SCORES.read(found)}

    first, second, third = judge_with("old"), judge_with("new"), judge_with("copy")
    assert (first[0], second[0], third[0]) == (3, 3, 0)
    assert first[1] == third[1] != second[1]
    assert served == ["old", "new"]


def reported(
    version: dict[str, str], fingerprints: Iterator[str] | None = None
) -> Callable[[dict[str, Any], int], tuple[int, Any] | None]:
    """Replies in which a model calls itself by its version, perhaps with a fingerprint."""

    def rule(request: dict[str, Any], _: int) -> tuple[int, Any] | None:
        if (name := version.get(request["model"])) is None:
            return None
        message = {"role": "assistant", "content": default_answer(request)}
        extra = {"system_fingerprint": next(fingerprints)} if fingerprints else {}
        return 200, {"model": name, "choices": [{"message": message, "finish_reason": "stop"}], **extra}

    return rule


@pytest.mark.parametrize("changed", ["judge-x", "a"])
def test_a_model_that_changes_behind_its_name_is_asked_everything(run: Run, fake_llm: FakeLLM, changed: str) -> None:
    fake_llm._rule = reported({changed: f"{changed}-may"})
    run(items=ITEMS[:2])
    fake_llm._rule = reported({changed: f"{changed}-june"})
    assert run(items=ITEMS[:2])[0] == (0, 0, 0), "nobody is asked, so nobody can tell"
    (answers, examples, judgements), found = run()
    if changed == "a":
        # One call shows the change; then all three are asked. Answers differ, so they are judged.
        assert (answers, examples) == (1 + 3, 1)
        assert {answer.reported_model for answer in ANSWERS.read(found)} == {"a-june"}
    else:
        assert answers == 1
        assert (examples, judgements) == (1 + 3, 3)
    assert run()[0] == (0, 0, 0)


def test_another_fingerprint_is_another_model_where_the_name_has_no_date(run: Run, fake_llm: FakeLLM) -> None:
    def after(name: str, *prints: str, items: int) -> Counts:
        fake_llm._rule = reported({"judge-x": name}, cycle(prints))
        return run(items=ITEMS[:items])[0]

    assert after("judge", "fp-may", items=2) == (2, 1 + 1, 2)
    assert after("judge", "fp-may", items=3) == (1, 1, 1)
    assert after("judge", "fp-june", items=2) == (0, 0, 0), "nobody is asked, so nobody can tell"
    more = [*ITEMS, ITEMS[0] | {"id": "gale", "turns": [{"role": "user", "content": "A gale?"}]}]
    fake_llm._rule = reported({"judge-x": "judge"}, cycle(["fp-june"]))
    (answers, examples, judgements), found = run(items=more)
    assert (answers, examples, judgements) == (1, 1 + 4, 4), "one call shows the change; then all is asked"
    (who,) = [who for identity, who in SUMMARY.read(found).endpoints.items() if identity.startswith("judge-x@")]
    assert who.endswith("; fp-june")


def test_a_dated_name_is_one_model_on_whatever_servers(run: Run, fake_llm: FakeLLM) -> None:
    for print_, items in (("fp-may", 2), ("fp-june", 3)):
        fake_llm._rule = reported({"judge-x": "judge-2026-05-01"}, cycle([print_]))
        counts = run(items=ITEMS[:items])[0]
    assert counts == (1, 1, 1)


def test_fingerprints_that_take_turns_are_servers_of_one_model(run: Run, fake_llm: FakeLLM) -> None:
    """Behind a balancer of several servers: what was under way is asked again, twice at most."""
    fake_llm._rule = reported({"judge-x": "judge"}, cycle(["fp-1", "fp-2", "fp-3", "fp-1", "fp-4"]))
    (answers, examples, judgements), _ = run()
    assert (answers, judgements) == (3, 3)
    assert examples <= 3 + 3 + 3
    fake_llm._rule = reported({"judge-x": "judge"}, cycle(["fp-4", "fp-2"]))
    more = [*ITEMS, ITEMS[0] | {"id": "gale", "turns": [{"role": "user", "content": "A gale?"}]}]
    assert run(items=more)[0] == (1, 1, 1), "all of them are known"


@pytest.mark.parametrize(("name", "dated"), [("gpt-4o-2024-08-06", True), ("gpt-4-0613", True), ("gpt-4o", False)])
def test_an_endpoint_whose_name_holds_no_date_is_flagged(run: Run, fake_llm: FakeLLM, name: str, dated: bool) -> None:
    fake_llm._rule = reported({"judge-x": name})
    endpoints = SUMMARY.read(run()[1]).endpoints
    (judge,) = [who for identity, who in endpoints.items() if identity.startswith("judge-x@")]
    assert judge.startswith(f"{name}, first asked 20")
    assert ("without a date" in judge) != dated


def test_a_judge_at_another_endpoint_is_another_judge(run: Run, fake_llm: FakeLLM, workspace: Workspace) -> None:
    run()
    with FakeLLM() as elsewhere:
        suite = load_suite(workspace.list("evaluation")[0].path.parents[3] / "small")
        subject = load_subject("a", f"{fake_llm.base_url}#a")
        judge = load_judge("x", EngineConfig(model="judge-x", base_url=elsewhere.base_url))
        run_suites([suite], [subject], [judge], workspace=workspace, seed=1)
        assert [kind_of(call.request) for call in elsewhere.calls].count(2) == 3


def test_a_judge_that_never_is_the_same_model_ends_the_run(run: Run, fake_llm: FakeLLM) -> None:
    number = iter(range(1000))

    def rule(request: dict[str, Any], _: int) -> tuple[int, Any] | None:
        return reported({"judge-x": f"router-{next(number)}"})(request, 0)

    fake_llm._rule = rule
    with pytest.raises(OpenCharacterError, match="is another model from reply to reply"):
        run()
