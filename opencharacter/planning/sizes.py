"""How large a model is, from its name, its folder or the figures."""

import json
import re
from pathlib import Path

from opencharacter.errors import UserError
from opencharacter.planning.figures import Figures

_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([bm])(?![A-Za-z0-9])", re.IGNORECASE)


def parameters_of(figures: Figures, *names: str | None) -> float:
    """Parameters of a model, from any of its names: figures first, then a local folder's files, then the name itself.

    Raises `UserError` if none of these tells.
    """
    given = [name for name in names if name]
    known = figures.model(*given).parameters_b
    if known:
        return known * 1e9
    for name in given:
        if (found := _of_folder(Path(name).expanduser())) or (found := _of_name(name)):
            return found
    raise UserError(
        f"the size of the model '{given[0]}' is not known: neither its name nor a local folder tells it",
        hint=f"give it in a --prices file, in billions of parameters: models: {{{given[0]}: {{parameters_b: 8}}}}",
    )


def _of_name(name: str) -> float | None:
    found = _IN_NAME.findall(name)
    return float(found[-1][0]) * (1e9 if found[-1][1].lower() == "b" else 1e6) if found else None


def _of_folder(folder: Path) -> float | None:
    files = list(folder.glob("*.safetensors"))
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wide = (config.get("dtype") or config.get("torch_dtype")) == "float32"
    return sum(path.stat().st_size for path in files) / (4 if wide else 2) or None
