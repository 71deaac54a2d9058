"""The leaderboard as text and as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence

from opencharacter.evaluation.subjects import short_identity
from opencharacter.reporting.published.leaderboard import Board
from opencharacter.reporting.published.names import OVERALL
from opencharacter.reporting.published.quoted import SOURCE, TASKS, quoted_rows

_COLUMNS = (
    "suite", "suite_digest", "items_digest", "judge", "system_prompt", "metric", "rank", "model", "identity", "mean",
    "low", "high", "n", "clusters",
)  # fmt: skip


def leaderboard_table(boards: Sequence[Board]) -> str:
    """The boards as text, each with the rows that the paper printed, set apart."""
    return "\n\n".join("\n".join(_lines(board)) for board in boards)


def leaderboard_csv(boards: Sequence[Board]) -> str:
    """The boards as one table, one line a model. Quoted rows have `quoted` as their rank."""
    measured = {task for board in boards for entry in board.entries for task in entry.tasks}
    tasks = sorted(measured | {task for board in boards if quoted_rows(board.suite) for task in TASKS})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_COLUMNS, *tasks])
    for board in boards:
        ground = (board.suite, board.suite_digest, board.items_digest, board.judge, board.system_prompt, board.metric)
        for entry in board.entries:
            figures = (entry.rank, entry.model, entry.identity, entry.mean, entry.low, entry.high)
            values = [entry.tasks.get(task, "") for task in tasks]
            writer.writerow([*ground, *map(_cell, figures), entry.n, entry.clusters, *values])
    for suite in sorted({board.suite for board in boards}):
        for row in quoted_rows(suite):
            printed = dict(zip(TASKS, row.tasks, strict=True))
            cells = [suite, "", "", SOURCE, "", OVERALL, "quoted", row.model, "", row.score, "", "", "", ""]
            writer.writerow([*cells, *(printed.get(task, "") for task in tasks)])
    return stream.getvalue()


def _cell(value: object) -> object:
    """A spreadsheet would take a text that begins with one of these for a formula."""
    return "" if value is None else f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def _lines(board: Board) -> Iterator[str]:
    tasks = sorted({task for entry in board.entries for task in entry.tasks})
    size = max((entry.n for entry in board.entries), default=0)
    yield (
        f"{board.suite} {board.suite_digest[:12]}, {size:,} questions, judge {_short(board.judge)}"
        + (f", system prompt {board.system_prompt}" if board.system_prompt else "")
        + (", less is better" if board.lower_is_better else "")
    )
    width = max(
        [5, *(len(entry.model) for entry in board.entries), *(len(row.model) for row in quoted_rows(board.suite))]
    )
    names = [short_identity(entry.identity) for entry in board.entries]
    wide = max([12, *map(len, names)])
    head = "mean" if board.metric == OVERALL else board.metric
    start = f"{'rank':>6}  {'model':<{width}}  {'identity':<{wide}}  {head:>6}"
    yield f"{start}  {'interval':<14}  {'n':>6}  {'clusters':>8}"
    for name, entry in zip(names, board.entries, strict=True):
        interval = "–" if entry.low is None or entry.high is None else f"{entry.low:.2f} to {entry.high:.2f}"
        yield (
            f"{entry.rank:>6}  {entry.model:<{width}}  {name:<{wide}}  {entry.mean:>6.2f}  {interval:<14}"
            f"  {entry.n:>6}  {entry.clusters:>8}"
        )
        if tasks:
            yield f"{'':>6}  {'':<{width}}  " + ", ".join(
                f"{task} {entry.tasks[task]:.2f}" for task in tasks if task in entry.tasks
            )
    if rows := quoted_rows(board.suite):
        yield f"        quoted, not ranked with these ({SOURCE}):"
        for row in rows:
            yield f"{'':>6}  {row.model:<{width}}  {'':<{wide}}  {row.score:>6.2f}"


def _short(judge: str) -> str:
    judge = short_identity(judge)
    return judge if len(judge) < 40 else f"{judge[:36]}…"
