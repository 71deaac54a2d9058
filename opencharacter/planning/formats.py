"""Amounts as people read them in a plan: few digits, since most are estimates."""


def amount_text(value: float) -> str:
    """A count of tokens: `950`, `12.0 k`, `115 M`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.3g} {unit}" if scaled < 1000 else f"{scaled:,.0f} {unit}"
    return f"{value:.0f}"


def size_text(size: float) -> str:
    """Bytes: `53 KB`, `16 GB`."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if size >= limit:
            return f"{size / limit:.3g} {unit}"
    return f"{size:.0f} B"


def hours_text(hours: float) -> str:
    """Hours: `–`, `5 min`, `1.5 h`, `36 h`."""
    if hours == 0:
        return "–"
    if hours < 1:
        return f"{max(1, round(60 * hours))} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def money_text(cost: float | None) -> str:
    """A cost, without its currency."""
    if cost is None:
        return "no price"
    return f"{cost:,.2f}" if cost < 100 else f"{cost:,.0f}"
