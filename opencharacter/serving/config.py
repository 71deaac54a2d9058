"""Settings of deployment."""

from pydantic import BaseModel, ConfigDict, Field


class DeployConfig(BaseModel):
    """The KServe InferenceService that `deploy` writes or applies."""

    model_config = ConfigDict(extra="forbid")

    service_name: str = Field(default="opencharacter", pattern=r"^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$")
    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    apply: bool = Field(default=False, description="apply to the cluster; otherwise only write the manifest")
    gpus: int = Field(default=1, ge=0)
    cpu: str = "4"
    memory: str = "24Gi"
    max_model_len: int | None = Field(default=None, ge=128, description="tokens")
