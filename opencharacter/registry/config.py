"""Settings of the model registry."""

from pydantic import BaseModel, ConfigDict, Field


class RegistryConfig(BaseModel):
    """Where models are registered. The server's address comes from MLFLOW_TRACKING_URI."""

    model_config = ConfigDict(extra="forbid")

    model_name: str = Field(default="opencharacter", pattern=r"^[A-Za-z0-9._-]+$")
    experiment: str = "opencharacter"
