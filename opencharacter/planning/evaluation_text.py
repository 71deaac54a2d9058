"""An evaluation's estimate as a table, and a suite as text."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from opencharacter.evaluation.suite import Suite
from opencharacter.planning.evaluation import EvaluationPlan, plan_suite
from opencharacter.planning.formats import amount_text, hours_text, money_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show_evaluation(plan: EvaluationPlan, console: "Console") -> None:
    """Print all of a plan."""
    from rich.text import Text

    console.print(asked_table(plan))
    console.print(Text("\nWhat it can show", style="bold"))
    for suite in plan.suites:
        console.print(Text(f"  {suite.suite}: {_shown(suite.smallest_effect, suite.items, suite.clusters)}"))
        for note in suite.notes:
            console.print(Text(f"    {note}", style="yellow"))
    console.print(Text("\nAssumed", style="bold"))
    for assumed in plan.assumptions:
        console.print(Text(f"  {assumed.name} {assumed.value}: {assumed.source}", style="dim"))
    if plan.unpriced:
        console.print(Text("\nWithout a price", style="bold"))
        for key in plan.unpriced:
            console.print(Text(f"  {key}"))
        console.print(Text("  put them into a file: opencharacter plan --show-prices > prices.yaml, then --prices"))


def asked_table(plan: EvaluationPlan) -> "Table":
    """A row for each model and judge of each suite."""
    from rich.table import Table

    asked = Table(box=None, pad_edge=False, show_footer=True, header_style="bold", footer_style="bold")
    cost = money_text(plan.cost) if plan.cost else "no price" if plan.unpriced else "–"
    for title, footer in (("suite", "total"), ("asked", "")):
        asked.add_column(title, footer, no_wrap=True)
    for title, footer in (
        ("calls", f"{plan.calls:,}"),
        ("tokens in", amount_text(plan.tokens_in)),
        ("out", amount_text(plan.tokens_out)),
        ("time", hours_text(plan.hours)),
        (plan.currency, f"> {cost}" if plan.unpriced and plan.cost else cost),
    ):
        asked.add_column(title, footer, justify="right", no_wrap=True)
    for row in plan.asked:
        asked.add_row(
            row.suite,
            f"{row.role} {row.name}",
            f"{row.calls:,}",
            amount_text(row.tokens_in),
            amount_text(row.tokens_out),
            hours_text(row.hours),
            "–" if row.cost == 0 else money_text(row.cost),
        )
    return asked


def _shown(effect: float | None, items: int, clusters: int) -> str:
    size = f"{items:,} items of {clusters:,} characters or sessions"
    if effect is None:
        return f"{size}; the smallest difference that it can show is not estimated"
    return f"{size} show a difference of {effect:.3f} or more between two models (chance 80 %, one-sided 2.5 %)"


def suite_lines(suite: Suite) -> Iterator[str]:
    """What a suite asks and measures, and one of its items."""
    config = suite.config
    yield f"{config.name}  version {suite.digest[:12]}"
    if config.description:
        yield config.description.strip()
    yield ""
    yield f"licence        {config.license or 'not given'}" + (f", from {config.source}" if config.source else "")
    yield f"folder         {suite.folder}"
    answer = config.answer
    yield (
        f"answers        {answer.repeats} to each item, temperature {answer.temperature:g}, top_p {answer.top_p:g},"
        f" at most {answer.max_tokens:,} tokens"
    )
    yield f"character      {config.character.replace('_', ' ')}, system prompt {config.system_prompt}"
    history = "the model's own answers" if config.history == "own" else "as the item gives them"
    yield f"earlier turns  {history}"
    for number, measure in enumerate(config.measures):
        tasks = ", ".join(getattr(measure, "tasks", getattr(measure, "rubrics", {})))
        yield f"{'measured by' if number == 0 else '':15}{measure.kind}{f': {tasks}' if tasks else ''}"
    if suite.own_items is None:
        yield "items          those of a run"
        return
    items = suite.items()
    plan = plan_suite(suite)
    counts = Counter(item.task for item in items if item.task)
    parts = f" ({', '.join(f'{count} {task}' for task, count in counts.items())})" if counts else ""
    yield f"items          {len(items):,}{parts}, of {plan.clusters:,} characters or sessions"
    if plan.smallest_effect is not None:
        yield f"can show       a difference of {plan.smallest_effect:.3f} or more (chance 80 %, one-sided 2.5 %)"
    for note in plan.notes:
        yield f"note           {note}"
    yield ""
    yield f"first item     {items[0].turns[-1].content}"
