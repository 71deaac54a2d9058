"""What a second run asks: nothing that was ever answered (counted by the fake server)."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.fake_llm import FakeLLM
from support.small_suite import FACTS, ITEMS, VOICE, write_suite
from support.weights import write_model_folder

from opencharacter.engines import EngineConfig, VllmServer
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import load_judge, load_subject
from opencharacter.evaluation.suites import load_suite
from opencharacter.storage.kinds import ANSWERS, SCORES
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
