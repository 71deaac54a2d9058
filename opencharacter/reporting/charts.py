"""Charts as inline SVG. Colours are CSS variables of the page, so charts follow its light and dark themes."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# matplotlib wants real colours; each stands for a CSS variable and is replaced in its output.
_COLOURS = {
    "#010201": "var(--ink)",
    "#010202": "var(--muted)",
    "#010203": "var(--line)",
    "#010204": "var(--before)",
    "#010205": "var(--after)",
    "#010206": "var(--other)",
}
_INK, _MUTED, _LINE, BEFORE, AFTER, OTHER = _COLOURS
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # a dollar sign in a name is one
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "legend.frameon": False,
}
_OF_SERIES = {"before": BEFORE, "base": BEFORE, "after": AFTER, "challenger": AFTER, "champion": OTHER}
_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_OWN_STYLE = re.compile(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)

Estimate = tuple[float, float, float]
"""Mean, and the lower and upper end of its interval."""


def mean_band(values: Sequence[float]) -> Estimate:
    """A mean with two standard errors on each side: for a picture, not for a test."""
    mean = sum(values) / len(values)
    error = math.sqrt(sum((value - mean) ** 2 for value in values)) / len(values)
    return mean, mean - 2 * error, mean + 2 * error


def loss_curve(points: Sequence[tuple[int, float]]) -> str:
    """Training loss by optimizer step."""
    with _figure("loss-curve", "Training loss by optimizer step") as (axes, done):
        steps, losses = zip(*points, strict=True)
        axes.plot(steps, losses, color=AFTER, linewidth=1.8, marker="o" if len(points) < 30 else "", markersize=3)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss")
        axes.xaxis.get_major_locator().set_params(integer=True)
    return done[0]


def length_histogram(lengths: Mapping[str, Sequence[int]]) -> str:
    """Words of an answer, one outline for each version."""
    with _figure("answer-lengths", "Words in an answer, by strategy") as (axes, done):
        longest = max(max(values) for values in lengths.values())
        bins = [longest * step / 20 for step in range(21)]
        for (name, values), colour in zip(sorted(lengths.items()), (AFTER, BEFORE, OTHER), strict=False):
            axes.hist(values, bins=bins, label=name, color=colour, histtype="stepfilled", alpha=0.18)
            axes.hist(values, bins=bins, color=colour, histtype="step", linewidth=1.6)
        axes.set_xlabel("words in an answer")
        axes.set_ylabel("answers")
        axes.legend()
    return done[0]


def intervals(name: str, title: str, label: str, rows: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Means with their intervals: one line for each row, one mark for each series (such as before and after)."""
    series = list(dict.fromkeys(key for values in rows.values() for key in values))
    with _figure(name, title, height=0.9 + 0.42 * len(rows)) as (axes, done):
        for index, key in enumerate(series):
            places = [place for place, values in enumerate(rows.values()) if key in values]
            estimates = [values[key] for values in rows.values() if key in values]
            means = [mean for mean, _, _ in estimates]
            axes.errorbar(
                means,
                [place + 0.24 * (index - (len(series) - 1) / 2) for place in places],
                xerr=[
                    [max(0.0, mean - low) for mean, low, _ in estimates],
                    [max(0.0, high - mean) for mean, _, high in estimates],
                ],
                fmt="o", markersize=5, linewidth=1.6, capsize=3, color=_OF_SERIES.get(key, _MUTED), label=key,
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(label)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(series), fontsize=9)
    return done[0]


def trends(
    name: str,
    title: str,
    across: str,
    up: str,
    series: Mapping[str, Sequence[tuple[float, Estimate]]],
    *,
    diagonal: bool = False,
    logarithmic: bool = False,
) -> str:
    """One line with intervals for each series, such as scores by length. `diagonal` marks where both axes are equal."""
    with _figure(name, title, description=_spoken(across, up, series)) as (axes, done):
        for key, points in series.items():
            places, estimates = zip(*points, strict=True)
            means, lows, highs = zip(*estimates, strict=True)
            axes.plot(
                places, means, label=key, color=_OF_SERIES.get(key, AFTER), linewidth=1.8, marker="o", markersize=3.5
            )
            axes.fill_between(places, lows, highs, color=_OF_SERIES.get(key, AFTER), alpha=0.15, linewidth=0)
        if diagonal:
            ends = [place for points in series.values() for place, _ in points]
            axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=_MUTED, linewidth=1, linestyle="--")
        if logarithmic:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        if len(series) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(series), fontsize=9)
    return done[0]


def histogram(name: str, title: str, label: str, values: Mapping[str, Sequence[float]]) -> str:
    """Outlines of the values of each series."""
    spoken = "; ".join(f"{key}: {min(numbers):.3g} to {max(numbers):.3g}" for key, numbers in values.items())
    with _figure(name, title, description=spoken) as (axes, done):
        everything = [value for numbers in values.values() for value in numbers]
        low, high = min(everything), max(everything)
        bins = [low + (high - low) * step / 24 for step in range(25)] if high > low else 1
        for key, numbers in values.items():
            colour = _OF_SERIES.get(key, _MUTED)
            axes.hist(numbers, bins=bins, label=key, color=colour, histtype="stepfilled", alpha=0.15)
            axes.hist(numbers, bins=bins, color=colour, histtype="step", linewidth=1.6)
        axes.set_xlabel(label)
        axes.set_ylabel("questions")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(values), fontsize=9)
    return done[0]


def _spoken(across: str, up: str, series: Mapping[str, Sequence[tuple[float, Estimate]]]) -> str:
    """The ends of each line in words, for those who cannot see them."""
    ends = [
        f"{key}: {points[0][1][0]:.2f} at {points[0][0]:.0f}, {points[-1][1][0]:.2f} at {points[-1][0]:.0f}"
        for key, points in series.items()
    ]
    return f"{up} by {across}. " + "; ".join(ends)


@contextmanager
def _figure(name: str, title: str, height: float = 2.6, description: str = "") -> "Iterator[tuple[Any, list[str]]]":
    """Axes to draw on; afterwards the list holds the SVG. `name` keeps ids apart in one page."""
    import matplotlib
    from matplotlib.figure import Figure

    done: list[str] = []
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(5.2, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        yield axes, done
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    done.append(_for_page(stream.getvalue(), name, f"{title}. {description}" if description else title))


def _for_page(svg: str, name: str, title: str) -> str:
    svg = _PROLOGUE.sub("", svg, count=1)
    svg = _OWN_STYLE.sub("", svg)
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    # matplotlib numbers its groups from one in every figure.
    svg = re.sub(r'id="([A-Za-z0-9_.-]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)([A-Za-z0-9_.-]+)', rf"\1{name}-\2", svg)
    # Without a size of its own, the chart takes the width of its place in the page.
    attributes = f'role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg"'
    attributes += ' xmlns:xlink="http://www.w3.org/1999/xlink"'
    return re.sub(r"<svg[^>]*?(viewBox=\"[^\"]+\")[^>]*>", lambda found: f"<svg {found[1]} {attributes}>", svg, count=1)
