"""The statistics of a mixture, as its `statistics.json` holds them."""

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.records.models import Cell


class HistogramBin(BaseModel):
    """Rows of at most `up_to` tokens that are longer than the previous bin."""

    up_to: int
    rows: int


class TokenStatistics(BaseModel):
    """Row lengths in tokens; an empty cell has a total only."""

    total: int
    mean: float | None = None
    percentiles: dict[str, int] = Field(default_factory=dict, description="p5, p25, ... p100 → tokens")
    histogram: list[HistogramBin] = []


class CellStatistics(BaseModel):
    """One cell of the split grid; dictionaries hold rows by name."""

    rows: int
    characters: int
    sessions: int
    strategies: dict[str, int] = {}
    corpora: dict[str, int] = {}
    licences: dict[str, int] = {}
    prompt_views: dict[str, int] = {}
    after_profile: dict[str, int] = Field(default={}, description="`scenario`, `instruction`: text after the profile")
    teachers: dict[str, int] = {}
    refusals: dict[str, int] = Field(default={}, description="`in_character`: a harmful request is turned down")
    tokens: TokenStatistics


class SourceStatistics(BaseModel):
    """Rows that come from a data set."""

    part: str = Field(description="`sessions` or `characters`")
    source: str
    licence: str
    rows: int


class MixtureStatistics(BaseModel):
    """The file `statistics.json`."""

    model_config = ConfigDict(extra="ignore")

    system_prompt: str = Field(default="immersive", description="name of the system prompt that its rows have")
    cells: dict[Cell, CellStatistics] = {}
    duplicate_personas: int = 0
    dropped: dict[str, int] = Field(default_factory=dict, description="rows left out, by reason")
    licences: dict[str, int] = Field(default_factory=dict, description="rows by licence that binds them")
    sources: list[SourceStatistics] = []
    warnings: list[str] = []
