"""Settings of the synthesis steps."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.engines.engine_config import Sampling
from opencharacter.records.sampling import Limit, Sampled

PersonaFormat = Literal["auto", "persona_hub", "text", "parquet"]
SessionFormat = Literal[
    "auto", "alpaca", "lima", "sharegpt", "messages", "persona_hub_instruction", "self_instruct", "parquet"
]
ExampleChoice = Literal["one", "drawn"]
RewriteRoom = Literal["even", "session"]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PersonaSource(_Settings):
    """Personas to make characters from."""

    uri: str = Field(description="local path, s3:// or hf:// id")
    format: PersonaFormat = "auto"
    name: str | None = Field(
        default=None, description="data set name for the license lineage; default: the file's name"
    )
    license: str = Field(description="SPDX id or name of the license")
    limit: Limit = None
    sample: Sampled = None


class Corpus(_Settings):
    """Instruction sessions, and how they become dialogues."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    uri: str = Field(description="local path, s3:// or hf:// id")
    format: SessionFormat = "auto"
    license: str
    limit: Limit = None
    sample: Sampled = None
    strategies: Annotated[list[Literal["R", "G"]], Field(min_length=1)]
    teacher: str = Field(default="teacher", description="key of the run's `engines`")
    n: int = Field(default=3, ge=1, description="characters drawn for each session (paper: 3)")


class CharacterSource(_Settings):
    """Characters that exist already, in place of personas and profile synthesis."""

    uri: str = Field(
        description="the characters file of the published data set, or `characters.jsonl.zst` of a finished run, or the"
        " folder of its output; local path, s3:// or hf:// id"
    )
    license: str | None = Field(
        default=None, description="license of the characters; those of a finished run bring their own"
    )
    limit: Limit = None
    sample: Sampled = None


class PublishedDataset(_Settings):
    """The published release (`synthetic_character.jsonl`, `synthetic_dialogue.jsonl`), in place of synthesis."""

    characters: str
    dialogues: str
    license: str = "apache-2.0"
    limit: Limit = None
    sample: Sampled = None


class InputsConfig(_Settings):
    """What a run reads. Either corpora, with personas or characters, or a published data set."""

    personas: list[PersonaSource] = []
    characters: CharacterSource | None = None
    corpora: list[Corpus] = []
    dataset: PublishedDataset | None = None
    max_bad_share: float = Field(default=0.05, ge=0, le=1, description="stop if more rows of a file are bad")


class ProfilesConfig(_Settings):
    """Profile synthesis (paper, section 3.1)."""

    teacher: str = Field(default="teacher", description="key of the run's `engines`")
    sampling: Sampling = Sampling(temperature=0.9, max_tokens=1024)
    examples: ExampleChoice = Field(
        default="one",
        description="the worked example that the teacher sees: one, always the same; drawn, one of several by persona",
    )
    attempts: int = Field(
        default=3,
        ge=1,
        description="answers per persona before it is rejected; raise it to ask again for rejected ones",
    )
    max_rejected_share: float = Field(default=0.9, ge=0, le=1, description="stop if more rows are rejected")


class ResponsesConfig(_Settings):
    """OpenCharacter-R and -G (paper, sections 3.2 and 3.3)."""

    rewrite_sampling: Sampling = Sampling(max_tokens=2048)
    rewrite_room: RewriteRoom = Field(
        default="even",
        description="how long R's answers may be: even, rewrite_sampling.max_tokens shared by a session's answers;"
        " session, by the answer that is rewritten, up to max_tokens each",
    )
    generate_sampling: Sampling = Sampling(max_tokens=768)
    attempts: int = Field(
        default=3,
        ge=1,
        description="answers per row (G: per turn) before the row is rejected; raise it to ask again for rejected rows",
    )
    max_rejected_share: float = Field(default=0.9, ge=0, le=1, description="stop if more rows are rejected")


class QualityConfig(_Settings):
    """A judge between synthesis and mixing: keeps good dialogues, has others rewritten once, drops the rest."""

    engine: str = Field(default="judge", description="key of the run's `engines`: who judges and rewrites")
    rubric: str | None = Field(
        default=None, min_length=1, description="what counts, in words; none: `prompts/quality_rubric.md`"
    )
    threshold: int = Field(default=3, ge=1, le=5, description="least score, from 1 to 5, of a dialogue that is kept")
    repair: bool = Field(
        default=True, description="let the answers below the threshold be rewritten once, and judge them again"
    )
    judge_sampling: Sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=256)
    repair_sampling: Sampling = Sampling(max_tokens=2048)
    max_dropped_share: float = Field(default=0.9, ge=0, le=1, description="stop if more dialogues are dropped")
