"""The reference to a registered model that steps pass on."""

from pydantic import BaseModel, ConfigDict, Field


class RegisteredModel(BaseModel):
    """A version of a registered model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    uri: str = Field(description="the folder of the weights: a local path or s3:// prefix")
    digest: str = Field(description="`hashing.tree_digest` of that folder")
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict, description="prompt hash, data set digest, licences, base model")
