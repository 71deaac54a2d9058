"""Prices, throughput and sizes: the shipped file `prices.yaml`, a user's file over it, and the sizes of models."""

import datetime
import json
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from opencharacter.errors import UserError
from opencharacter.yaml_files import compose, explain, read_text

_HINT = "opencharacter plan --show-prices prints the shipped file, with every key"

_SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([bm])(?![A-Za-z0-9])", re.IGNORECASE)

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gpu(_Strict):
    """One kind of GPU."""

    memory_gib: _Positive
    bf16_tflops: _Positive = Field(description="dense; training speed is proportional to it")
    memory_tb_per_s: _Positive = Field(description="serving speed is proportional to it")
    price_per_hour: _Price | None = None


class ModelFigures(_Strict):
    """What is known of a model by its name."""

    parameters_b: _Positive | None = Field(default=None, description="billions")
    input_per_million: _Price | None = Field(default=None, description="price of a million prompt tokens")
    output_per_million: _Price | None = Field(default=None, description="price of a million completion tokens")


class DataSet(_Strict):
    """Size of a data set that is not read for a plan; its key is the beginning of its URI."""

    rows: Annotated[int, Field(ge=1)]
    answered: bool = Field(default=True, description="whether its sessions hold answers")
    turns: Annotated[float, Field(ge=1)] = Field(default=1, description="mean user turns of a session")
    source: str = "your file"


class _Sourced(_Strict):
    source: str = "your file"

    @model_validator(mode="before")
    @classmethod
    def _number_alone(cls, data: Any) -> Any:
        return {"value": data} if isinstance(data, int | float) and not isinstance(data, bool) else data


class Amount(_Sourced):
    """A number above 0 and where it comes from."""

    value: _Positive


class Share(_Sourced):
    """A part of a whole, and where it comes from."""

    value: _Share


class AssumedFigures(_Strict):
    """The figures that a plan rests on; see `prices.yaml` for units."""

    chars_per_token: Amount
    persona_tokens: Amount
    profile_tokens: Amount
    question_tokens: Amount
    answer_tokens: Amount
    rewrite_growth: Amount
    judgement_tokens: Amount
    mark_tokens: Amount
    rejected_share: Share
    filtered_share: Share
    serve_8b: Amount
    serve_70b: Amount
    train_8b: Amount
    score_factor: Amount
    serve_cpu: Amount
    train_cpu: Amount
    train_cpu_process_gib: Amount
    train_cpu_token_mib: Amount
    train_cpu_token_checkpointed_mib: Amount
    train_gpu_process_gib: Amount
    api_stream: Amount
    pod_start_s: Amount
    load_gb_per_s: Amount
    compression: Amount


class Figures(_Strict):
    """The whole file."""

    as_of: datetime.date
    currency: str = Field(min_length=1)
    gpus: dict[str, Gpu]
    default_gpu: str
    spot_factor: Annotated[float, Field(gt=0, le=1)] | None = None
    models: dict[str, ModelFigures]
    datasets: dict[str, DataSet]
    figures: AssumedFigures

    @model_validator(mode="after")
    def _default_gpu_is_known(self) -> "Figures":
        if self.default_gpu not in self.gpus:
            raise ValueError(f"default_gpu: '{self.default_gpu}' is not under gpus; there are: {', '.join(self.gpus)}")
        return self

    def model(self, *names: str | None) -> ModelFigures:
        """What is known of a model by any of its names."""
        return next((self.models[name] for name in names if name in self.models), ModelFigures())


class Assumptions:
    """The figures of one plan. It records which of the assumed ones are used, so that each has its source."""

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.used: dict[str, Amount | Share] = {}

    def __call__(self, name: str) -> float:
        """The value of an assumed figure."""
        self.used[name] = getattr(self.figures.figures, name)
        return self.used[name].value


def shipped_text() -> str:
    """The shipped file."""
    return (resources.files("opencharacter.planning") / "prices.yaml").read_text(encoding="utf-8")


def load_figures(path: Path | None = None) -> Figures:
    """The shipped figures, and over them those of a user's file. Raises `UserError` naming file, line and key."""
    data = yaml.safe_load(shipped_text())
    if path is None:
        return Figures.model_validate(data)
    text = read_text(path, hint=f"start from the shipped one: opencharacter plan --show-prices > {path}")
    root = compose(text, str(path))
    own = yaml.safe_load(text)
    if not isinstance(own, dict):
        raise UserError(f"{path}: expected a mapping with keys such as gpus and models", hint=_HINT)
    try:
        return Figures.model_validate(_over(data, own))
    except ValidationError as error:
        raise explain(error, Figures, str(path), root, hint=_HINT) from error


def _over(base: Any, own: Any) -> Any:
    # A figure with a new value has lost its source.
    if not (isinstance(base, dict) and isinstance(own, dict)) or "value" in own:
        return own
    return base | {key: _over(base.get(key), value) for key, value in own.items()}


def parameters_of(figures: Figures, *names: str | None) -> float:
    """Parameters of a model, from any of its names: figures first, then a local folder's files, then the name itself.

    Raises `UserError` if none of these says it.
    """
    given = [name for name in names if name]
    known = figures.model(*given).parameters_b
    if known:
        return known * 1e9
    for name in given:
        if parameters := _parameters_in_folder(Path(name).expanduser()) or _parameters_in_name(name):
            return parameters
    raise UserError(
        f"the size of the model '{given[0]}' is not known: neither its name nor a local folder says it",
        hint=f"give it in a --prices file, in billions of parameters: models: {{{given[0]}: {{parameters_b: 8}}}}",
    )


def _parameters_in_name(name: str) -> float | None:
    sizes = _SIZE_IN_NAME.findall(name)
    return float(sizes[-1][0]) * (1e9 if sizes[-1][1].lower() == "b" else 1e6) if sizes else None


def _parameters_in_folder(folder: Path) -> float | None:
    files = list(folder.glob("*.safetensors"))
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wide = (config.get("dtype") or config.get("torch_dtype")) == "float32"
    return sum(path.stat().st_size for path in files) / (4 if wide else 2) or None
