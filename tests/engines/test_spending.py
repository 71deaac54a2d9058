"""A budget ends the work before it overspends; a rehearsal calls nobody."""

from pathlib import Path

import pytest
from support.fake_llm import FakeLLM

from opencharacter.engines import ChatReply, EngineConfig, Sampling, open_engine
from opencharacter.engines.chat import BudgetSpent
from opencharacter.engines.rehearsal import rehearse
from opencharacter.engines.spending import Budget, Price, limit_spending
from opencharacter.errors import UserError
from opencharacter.generation.judgements import ContentCall, make_calls
from opencharacter.generation.rows import StoredRow
from opencharacter.progress import hidden
from opencharacter.records.models import Usage
from opencharacter.storage import open_rows

_PRICES = {"fake": Price(input_per_million=0, output_per_million=1_000_000)}
"""Each completion token costs 1."""


def calls(count: int) -> list[ContentCall]:
    return [
        ContentCall(
            model="fake", messages=[{"role": "user", "content": f"Question {number}"}], sampling=Sampling(), seed=1
        )
        for number in range(count)
    ]


async def ask(root: Path, server: FakeLLM | None, count: int, budget: Budget | None) -> Usage:
    url = server.base_url if server else "http://127.0.0.1:9/v1"
    engine = EngineConfig(model="fake", base_url=url, concurrency=4)
    async with open_rows(root) as store:
        with limit_spending(budget):
            return await make_calls(
                calls(count),
                engine,
                store,
                lambda reply: {"status": "ok", "text": reply.text},
                what="answers",
                on_failure=lambda error: StoredRow({"status": "failed"}, "failed"),
            )


async def test_a_budget_ends_the_work_and_the_next_one_continues_it(tmp_path: Path, fake_llm: FakeLLM) -> None:
    whole = await ask(tmp_path / "whole", fake_llm, 30, None)
    before = len(fake_llm.calls)
    budget = Budget(whole.completion_tokens / 2, _PRICES)
    with pytest.raises(BudgetSpent, match="the budget is spent") as caught:
        await ask(tmp_path / "rows", fake_llm, 30, budget)
    assert caught.value.exit_code == 1
    made = len(fake_llm.calls) - before
    assert 10 <= made < 25
    longest = 4 * whole.completion_tokens / 30
    assert whole.completion_tokens / 2 - longest < budget.spent < whole.completion_tokens / 2 + longest
    rest = await ask(tmp_path / "rows", fake_llm, 30, Budget(whole.completion_tokens, _PRICES))
    assert made + rest.calls == 30, "no call is paid twice"


async def test_weights_of_our_own_cost_nothing(tmp_path: Path, fake_llm: FakeLLM) -> None:
    budget = Budget(1, {"another": _PRICES["fake"]})
    assert (await ask(tmp_path, fake_llm, 8, budget)).calls == 8
    assert budget.spent == 0


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_budget_of_nothing_is_refused(limit: float) -> None:
    with pytest.raises(UserError, match="above 0"):
        Budget(limit, _PRICES)


async def test_a_rehearsal_asks_the_stand_in_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def stand_in(config: EngineConfig, messages: list[dict[str, str]], *rest: object) -> ChatReply:
        asked.append(messages[-1]["content"])
        return ChatReply("Yes.", "stop", Usage(calls=1, prompt_tokens=3, completion_tokens=2))

    with rehearse(stand_in), hidden():
        used = await ask(tmp_path, None, 5, None)
    assert capsys.readouterr().err == ""
    assert sorted(asked) == [f"Question {number}" for number in range(5)]
    assert used == Usage(calls=5, prompt_tokens=15, completion_tokens=10)
    async with open_engine(EngineConfig(model="fake", base_url="http://127.0.0.1:9/v1")) as engine:
        assert type(engine).__name__ == "ChatEngine", "the rehearsal ends with its block"
