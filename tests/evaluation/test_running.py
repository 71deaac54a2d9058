import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.fake_llm import FakeLLM, Fault, default_answer
from support.small_suite import ITEMS, write_suite
from support.weights import write_model_folder

from opencharacter.engines import EngineConfig, VllmServer
from opencharacter.errors import UserError
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import Judge, Subject, endpoint_subject, load_judge, load_subject
from opencharacter.evaluation.suites import load_suite
from opencharacter.storage.kinds import ANSWERS, CHARACTERS, JUDGEMENTS, SCORES, SUMMARY
from opencharacter.storage.workspace import Artifact, Workspace

GRADING = "You grade how well"


def is_judgement(request: dict) -> bool:
    return request["messages"][0]["content"].startswith(GRADING)


@pytest.fixture
def suite_folder(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "small")


@pytest.fixture
def subject(fake_llm: FakeLLM) -> Subject:
    return load_subject("challenger", f"{fake_llm.base_url}#model-a")


@pytest.fixture
def judge(fake_llm: FakeLLM) -> Judge:
    return load_judge("judge", EngineConfig(model="judge-1", base_url=fake_llm.base_url, max_retries=0))


@pytest.fixture
def run(workspace: Workspace, suite_folder: Path, subject: Subject, judge: Judge) -> Callable[..., Artifact]:
    def run(**changes: object) -> Artifact:
        arguments = {"subjects": [subject], "judges": [judge], "workspace": workspace, "seed": 5} | changes
        return run_suites([load_suite(suite_folder)], **arguments)["small"]  # type: ignore[arg-type]

    return run


def test_each_answer_is_scored_by_its_tasks_rubric(run: Callable[..., Artifact], fake_llm: FakeLLM) -> None:
    found = run()
    answers, scores = list(ANSWERS.read(found)), list(SCORES.read(found))
    assert [answer.question_id for answer in answers] == [item["id"] for item in ITEMS]
    assert {(row.question_id, row.metric, row.status) for row in scores} == {
        ("storm", "voice", "ok"), ("home", "facts", "ok"), ("tea", "voice", "ok")
    }  # fmt: skip
    host = urlsplit(fake_llm.base_url).netloc
    assert {row.judge for row in scores} == {f"judge-1@{host}"}
    assert {row.model for row in scores} == {f"model-a@{host}"}
    assert len(list(JUDGEMENTS.read(found))) == 3
    assert SUMMARY.read(found).models == {"challenger": f"model-a@{host}"}
    assert len(fake_llm.calls) == 6
    prompts = [call.request["messages"][0]["content"] for call in fake_llm.calls if is_judgement(call.request)]
    assert sum("Voice: does" in prompt for prompt in prompts) == 2
    assert len(list(CHARACTERS.read(found))) == 2


def test_a_character_without_a_name_is_shown_by_its_persona(run: Callable[..., Artifact], fake_llm: FakeLLM) -> None:
    run()
    systems = [call.request["messages"][0] for call in fake_llm.calls if not is_judgement(call.request)]
    assert {message["role"] for message in systems} == {"system"}
    assert sum("A ferryman who counts geese." in message["content"] for message in systems) == 2


def test_a_second_run_asks_nothing(run: Callable[..., Artifact], fake_llm: FakeLLM, subject: Subject) -> None:
    first = run()
    before = len(fake_llm.calls)
    assert run() == first
    other = endpoint_subject("champion", subject.engine)
    assert list(SCORES.read(run(subjects=[other]))) == list(SCORES.read(first))
    assert len(fake_llm.calls) == before


def test_all_answers_come_before_all_judgements(
    fake_llm: FakeLLM, subject: Subject, judge: Judge, tmp_path: Path, workspace: Workspace
) -> None:
    other = load_subject("base", f"{fake_llm.base_url}#model-b")
    second = load_judge("second", EngineConfig(model="judge-2", base_url=fake_llm.base_url))
    suites = [load_suite(write_suite(tmp_path / name, name=name)) for name in ("one", "two")]
    run_suites(suites, [subject, other], [judge, second], workspace=workspace, seed=1)
    order = [name for name, _ in itertools.groupby(call.request["model"] for call in fake_llm.calls)]
    assert order == ["model-a", "model-b", "judge-1", "judge-2"]


def test_a_judge_that_fails_is_asked_twice_more_with_other_seeds(
    run: Callable[..., Artifact], fake_llm: FakeLLM
) -> None:
    fake_llm.faults = [Fault("garbage", match="Facts: does")]
    scores = {row.question_id: row for row in SCORES.read(run())}
    asked = [call.request["seed"] for call in fake_llm.calls if call.outcome == "garbage"]
    assert len(asked) == len(set(asked)) == 3
    assert (scores["home"].status, scores["home"].score) == ("parse_failure", None)


def test_a_judge_that_fails_once_gives_a_score(run: Callable[..., Artifact], fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("refusal", match=GRADING, times=1)]
    assert {row.status for row in SCORES.read(run())} == {"ok"}
    assert len(fake_llm.calls) == 3 + 2 * 3


def test_a_cut_answer_is_counted_and_judged(run: Callable[..., Artifact], fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("truncated", match='"role": "system"')]
    found = run()
    assert {(answer.status, answer.finish_reason) for answer in ANSWERS.read(found)} == {("truncated", "length")}
    assert {row.status for row in SCORES.read(found)} == {"ok"}


def test_an_empty_answer_has_no_score_and_is_not_judged(run: Callable[..., Artifact], fake_llm: FakeLLM) -> None:
    fake_llm._answer = lambda request: default_answer(request) if is_judgement(request) else "  \n"
    found = run()
    assert {(row.status, row.note) for row in SCORES.read(found)} == {("no_answer", "empty_answer")}
    assert len(fake_llm.calls) == 3


def test_a_model_may_not_judge_itself(run: Callable[..., Artifact], fake_llm: FakeLLM, judge: Judge) -> None:
    with pytest.raises(UserError, match="judge judge is the model base itself"):
        run(subjects=[endpoint_subject("base", judge.engine)])
    assert fake_llm.calls == []


def test_each_server_starts_once_for_all_suites_and_second_attempts(
    fake_llm: FakeLLM, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    @contextmanager
    def serve(weights: Path, *_: Any, **__: Any) -> Iterator[VllmServer]:
        started.append(weights.name)
        yield VllmServer(fake_llm.base_url, 0, tmp_path / "log")

    monkeypatch.setattr("opencharacter.engines.opening.serve_vllm", serve)
    fake_llm.faults = [Fault("garbage", share=0.5, match=GRADING)]
    for name in ("base", "tuned", "judge-1", "judge-2"):
        write_model_folder(tmp_path / name)
        (tmp_path / name / "README.md").write_text(name)
    suites = [load_suite(write_suite(tmp_path / f"suite-{name}", name=name)) for name in ("one", "two")]
    subjects = [load_subject(name, str(tmp_path / name)) for name in ("base", "tuned")]
    judges = [load_judge(n, EngineConfig(model=n, weights=str(tmp_path / n))) for n in ("judge-1", "judge-2")]
    run_suites(suites, subjects, judges, workspace=workspace)
    assert started == ["base", "tuned", "judge-1", "judge-2"]
    assert fake_llm.outcomes["garbage"] > 3
