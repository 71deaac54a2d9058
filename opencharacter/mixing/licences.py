"""Licences of the data: putting a row's sources together, and telling which allow commercial use."""

import re
from typing import Literal

UNKNOWN = "unknown"
"""Licence of a character that comes without provenance."""

Use = Literal["commercial", "non_commercial", "unrecognised"]

_SEPARATOR = "; "
_VERSION = r"(-\d+(\.\d+)*)?(-[a-z]{2})?"
# No restriction on commercial use or on adaptations (so not CC BY-ND); names as SPDX and the hub have them.
_COMMERCIAL = re.compile(
    rf"(apache|mit|isc|bsd|0bsd|unlicense|wtfpl|zlib|mpl|artistic|cc0|cc-by|cc-by-sa|odc-by|odbl|pddl|cdla-permissive"
    rf"|cdla-sharing|etalab|ogl-uk|gpl|lgpl|agpl|gfdl|public-domain)(-[234]-clause)?{_VERSION}(-only|-or-later)?"
)
_NON_COMMERCIAL = re.compile(r"(^|-)(nc|non-?commercial|research|academic)(-|$)")


def combine(*licences: str) -> str:
    """The licences that bind a row, each once whatever its case, sorted: `apache-2.0; CC-BY-NC-SA-4.0`."""
    every = sorted(part for licence in licences for part in parts(licence))
    once = {part.casefold(): part for part in reversed(every)}
    return _SEPARATOR.join(once[key] for key in sorted(once))


def parts(licence: str) -> list[str]:
    """The single licences of a combined one."""
    return [part for piece in licence.split(";") if (part := piece.strip())] or [UNKNOWN]


def permitted_use(licence: str) -> Use:
    """What a licence, or the strictest of a combined one, permits.

    `unrecognised` where the name is not known to allow commercial use: a filter on it must drop such rows too.
    """
    plain = [_plain(part) for part in parts(licence)]
    if any(_NON_COMMERCIAL.search(part) for part in plain):
        return "non_commercial"
    return "commercial" if all(_COMMERCIAL.fullmatch(part) for part in plain) else "unrecognised"


def hub_id(licence: str) -> str | None:
    """The hub's identifier of a single licence (lower case), where its name is one that we know."""
    plain = _plain(licence)
    known = _COMMERCIAL.fullmatch(plain) or re.fullmatch(rf"cc-by-nc(-sa|-nd)?{_VERSION}", plain)
    return plain if known else None


def _plain(licence: str) -> str:
    words = re.sub(r"[\s_]+", "-", licence.strip().casefold())
    return re.sub(r"-?licen[sc]e(d)?-?", "", words)
