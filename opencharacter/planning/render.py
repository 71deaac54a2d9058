"""A plan as a table, with its assumptions and issues below it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opencharacter.planning.formats import amount_text, hours_text, money_text, size_text
from opencharacter.planning.inputs import InputCount
from opencharacter.planning.plan import Plan, Stage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


_WIDE = 120
"""Columns that the table takes with where each step runs; narrower, that is a list of its own."""


def show_plan(plan: Plan, console: "Console") -> None:
    """Print all of a plan."""
    from rich.text import Text

    place = f"cluster {plan.cluster}" if plan.cluster else "no cluster (--cluster)"
    console.print(Text.assemble((plan.name, "bold"), f"  {place}  ", (f"figures of {plan.as_of}", "dim")))
    wide = console.width >= _WIDE
    console.print(_stages(plan, where=wide))
    console.print(Text(_references_only(plan), style="dim"))
    for title, lines in (
        ("Where", [] if wide else [f"{stage.step}: {_where(stage, plan)}" for stage in _shown(plan)]),
        ("Inputs", list(_inputs(plan.inputs))),
        ("Storage", list(_storage(plan))),
        ("Assumed", [f"{assumed.name} {assumed.value}: {assumed.source}" for assumed in plan.assumptions]),
        ("Without a price", _unpriced(plan)),
        ("Issues", list(_issues(plan))),
    ):
        if lines:
            console.print(Text(f"\n{title}", style="bold"))
        for line in lines:
            console.print(Text(f"  {line}", style="dim" if title == "Assumed" else ""))
    if plan.cluster and not plan.issues:
        console.print(
            Text(f"\nThe run fits the cluster {plan.cluster}, as far as can be checked from here.", style="green")
        )


def _shown(plan: Plan) -> list[Stage]:
    return [stage for stage in plan.stages if stage.rows is not None]


def _stages(plan: Plan, *, where: bool) -> "Table":
    from rich.table import Table

    table = Table(
        box=None,
        pad_edge=False,
        collapse_padding=not where,  # so that the figures fit 80 columns
        header_style="bold",
        show_footer=True,
        footer_style="bold",
    )
    totals = plan.totals
    table.add_column("step", "total", no_wrap=True)
    for title, footer in (
        ("rows", ""),
        ("calls", f"{totals.calls:,}"),
        ("tokens in", amount_text(totals.tokens_in)),
        ("out", amount_text(totals.tokens_out)),
    ):
        table.add_column(title, footer, justify="right", no_wrap=True)
    if where:
        table.add_column("where")
    cost = money_text(totals.cost) if totals.cost else "–"
    if plan.unpriced:
        cost = f"> {cost}" if totals.cost else "no price"
    for title, footer in (
        ("time", hours_text(totals.hours)),
        ("GPU-hours", f"{totals.gpu_hours:,.1f}" if totals.gpu_hours else "–"),
        (plan.currency, cost),
    ):
        table.add_column(title, footer, justify="right", no_wrap=True)
    for stage in _shown(plan):
        before, after = _row(stage)
        table.add_row(*before, *([_where(stage, plan)] if where else []), *after)
    return table


def _references_only(plan: Plan) -> str:
    steps = [stage.step for stage in plan.stages if stage.rows is None]
    return f"{', '.join(steps)}: references only, some minutes each"


def _row(stage: Stage) -> tuple[list[str], list[str]]:
    """The cells before and after the column `where`."""
    calls = stage.calls > 0
    tokens = stage.tokens_in or stage.trained_tokens
    before = [
        stage.step,
        f"{stage.rows:,}",
        f"{stage.calls:,}" if calls else "–",
        amount_text(tokens) if tokens else "–",
        amount_text(stage.tokens_out) if calls else "–",
    ]
    after = [
        hours_text(stage.hours),
        f"{stage.gpu_hours:,.1f}" if stage.gpu_hours else "–",
        money_text(stage.cost) if stage.cost != 0 else "–",
    ]
    return before, after


def _where(stage: Stage, plan: Plan) -> str:
    where = stage.where
    pods = f"{where.pods} x " if where.pods > 1 else ""
    cores = f"{where.cores:g} cores" if plan.cluster else "this machine"
    unit = f"{where.gpus} {where.gpu}" if where.gpu else cores
    parts = [f"{where.image}: {pods}{unit}", *(model.rpartition("/")[2] for model in stage.models)]
    parts += [f"queue {where.queue}"] if where.queue else []
    parts += ["spot"] if where.spot else []
    return ", ".join(parts)


def _inputs(inputs: list[InputCount]) -> Iterator[str]:
    for count in inputs:
        faults = [f"{number:,} {name}" for name, number in (("bad", count.bad), ("double", count.duplicates)) if number]
        marks = f" ({', '.join(faults)})" if faults else ""
        how = count.source if count.read else f"ASSUMED, {count.source}"
        yield f"{count.rows:,} {count.what}{marks}  {count.uri}  {how}"
        yield from (f"  {line}" for line in count.files)


def _storage(plan: Plan) -> Iterator[str]:
    total = sum(item.bytes for item in plan.storage if item.place == "workspace")
    yield f"{size_text(total):>8}  workspace"
    for item in plan.storage:
        yield f"{size_text(item.bytes):>8}  {item.place}: {item.what}"


def _unpriced(plan: Plan) -> list[str]:
    if not plan.unpriced:
        return []
    return [
        *plan.unpriced,
        "put them into a file: opencharacter plan --show-prices > prices.yaml, then --prices prices.yaml",
    ]


def _issues(plan: Plan) -> Iterator[str]:
    for issue in plan.issues:
        mark = "cannot run" if issue.fatal else "warning"
        yield f"{mark}  {issue.subject}  {issue.step or 'all steps'}: {issue.message}"
