"""A judge's card for people: a table on the terminal, and a page."""

from collections.abc import Iterator
from html import escape
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from opencharacter import html
from opencharacter.evaluation.judges.canaries import MOST_WRONG
from opencharacter.evaluation.preferences import MOST_FLIPS
from opencharacter.records.judges import Agreement, Figure, JudgeCard

JSON_FILE = "judge-card.json"
PAGE_FILE = "judge-card.html"

_VERDICTS = {
    "passed": "a decision may rest on this judge",
    "refused": "no decision may rest on this judge",
    "unknown": "too little is known of this judge for a decision",
}


class CardLine(NamedTuple):
    """A figure as people read it."""

    name: str
    figure: Figure
    limit: str = ""
    """What it must be, or what it would be for a good judge."""

    @property
    def interval(self) -> str:
        """The figure's interval."""
        low, high = self.figure.low, self.figure.high
        return "–" if low is None or high is None else f"{low:.2f} to {high:.2f}"

    @property
    def value(self) -> str:
        """The figure."""
        return "–" if self.figure.value is None else f"{self.figure.value:.2f}"


def card_lines(card: JudgeCard) -> Iterator[CardLine]:
    """The figures of a card, in the order of reading."""
    yield CardLine("replies without a score", card.unreadable, "0")
    yield CardLine("replies that decline", card.refused, "0")
    yield CardLine("two scores of one answer are equal", card.repeatability, "1")
    yield CardLine("variance of the scores of one answer", card.repeat_variance, "0")
    yield CardLine("canaries ranked wrongly", card.canaries.wrong, f"at most {MOST_WRONG:g}")
    for kind, figure in card.canaries.by_kind.items():
        yield CardLine(f"canary: {kind.replace('_', ' ')}", figure)
    yield CardLine("added to a score by empty words of the same length", card.length_effect, "0")
    yield CardLine("verdicts that change with the order", card.order.flip_rate, f"at most {MOST_FLIPS:g}")
    yield CardLine("verdicts for the answer shown first", card.order.first_place_rate, "0.5")
    yield CardLine("log odds of preferring twice the length", card.length_preference)
    yield from _agreement("judge and people", card.people)
    yield from _agreement("people with each other", card.raters)
    if card.calibration is not None and card.compared is not None:
        first, second = card.compared
        yield CardLine(f"{second} minus {first}, by the judge", card.calibration.judge)
        yield CardLine("the same by people", card.calibration.people)
        yield CardLine("the same by the judge, corrected by people", card.calibration.corrected)


def _agreement(who: str, found: list[Agreement]) -> Iterator[CardLine]:
    for task in found:
        yield CardLine(f"{who}, {task.task}: Krippendorff's alpha", task.alpha, "1")
        for kappa in task.kappas:
            yield CardLine(f"{kappa.first} and {kappa.second}: weighted kappa", kappa.kappa, "1")


def card_verdict(card: JudgeCard) -> list[str]:
    """The verdict, and why."""
    return [_VERDICTS[card.verdict], f"canaries: {card.canaries.reason}", f"order: {card.order.reason}"]


def write_card(card: JudgeCard, folder: Path) -> tuple[Path, Path]:
    """Write the card as JSON and as a page. Returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / JSON_FILE, folder / PAGE_FILE
    data.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    page.write_text(card_page(card), encoding="utf-8")
    return data, page


def card_page(card: JudgeCard) -> str:
    """The card as an HTML document without anything from elsewhere."""
    verdict, *reasons = card_verdict(card)
    style = (resources.files("opencharacter.evaluation.judges") / "card.css").read_text(encoding="utf-8")
    rows = [(line.name, line.value, line.interval, line.figure.n, line.limit) for line in card_lines(card)]
    scores = html.table(["score", "given"], card.scores.items())
    about = (
        f"{card.judge}: {card.calls:,} calls about {card.answers} answers to {card.items} questions of"
        f" {card.characters} characters ({card.material})"
    )
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Judge card: {escape(card.name)}</title><style>{style}</style></head><body>"
        f"<h1>Judge card: {escape(card.name)}</h1><p class='muted'>{escape(about)}</p>"
        f"<p class='{card.verdict}'><b>{escape(verdict)}</b></p>"
        + "".join(f"<p>{escape(reason)}</p>" for reason in reasons)
        + "<div class='scroll'>"
        + html.table(["", "figure", "95 % interval", "over", "good"], rows)
        + f"</div><h2>Scores</h2>{scores}</body></html>\n"
    )
