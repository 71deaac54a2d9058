"""What the environment says of the cluster under test: variables that start with OPENCHARACTER_CLUSTER_."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from opencharacter.errors import UserError

PREFIX = "OPENCHARACTER_CLUSTER_"

Need = Literal["cluster", "images", "store", "pipelines"]

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
_Address = Annotated[str, StringConstraints(pattern=r"^(https?://[^/\s]+.*|svc/[a-z0-9-]+:[0-9]+)$")]
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class Settings(BaseModel):
    """The variables, one a field: NAMESPACE is `namespace`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: _Name | None = Field(default=None, description="where Kubeflow Pipelines runs the steps")
    images: Path | None = Field(default=None, description="images.yaml, as `make images PUSH=images.yaml` writes it")
    registry: str | None = Field(default=None, description="without images.yaml: what stands before the images' names")
    tag: str | None = Field(default=None, description="with REGISTRY: the images' tag; default: the library's version")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    engine_image: str | None = Field(default=None, description="vLLM's image for serving; default: `synthesis`")
    postgres_image: str | None = Field(default=None, description="PostgreSQL; without: production values are skipped")
    workspace: Annotated[str, StringConstraints(pattern=r"^s3://[^/]+(/.*)?$")] | None = Field(
        default=None, description="s3://BUCKET/PREFIX below which the suite makes a prefix of its own"
    )
    s3_endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+/?$")] | None = Field(
        default=None, description="the object store as pods reach it; default: AWS_ENDPOINT_URL; none: AWS"
    )
    s3_service: Annotated[str, StringConstraints(pattern=r"^svc/[a-z0-9-]+:[0-9]+$")] | None = Field(
        default=None, description="a Service of NAMESPACE to forward a local port to, in place of AWS_ENDPOINT_URL"
    )
    kfp_host: _Address | None = Field(
        default=None, description="Kubeflow Pipelines' API: an address, or svc/NAME:PORT of NAMESPACE"
    )
    storage_class: _Name | None = Field(default=None, description="of scratch volumes; default: the cluster's default")
    api_down: str | None = Field(default=None, description="shell command that takes the Kubernetes API away")
    api_up: str | None = Field(default=None, description="shell command that brings it back")
    minutes: int = Field(default=40, ge=1, description="after which no test waits any longer")

    @model_validator(mode="after")
    def _holds_together(self) -> "Settings":
        if self.images and self.registry:
            raise ValueError("IMAGES and REGISTRY: give one of them; images.yaml names the registry")
        if self.tag and not self.registry:
            raise ValueError("TAG: belongs to REGISTRY; images.yaml names its own")
        if (self.api_down is None) != (self.api_up is None):
            raise ValueError("API_DOWN and API_UP: give both, or neither")
        if self.images:
            self.image_values()
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises `UserError` with a line for each variable that is unknown or makes no sense."""
        given = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if _is_ours(name)}
        try:
            return cls.model_validate({name: value for name, value in given.items() if value})
        except ValidationError as error:
            lines = [_explain(problem) for problem in error.errors()]
            raise UserError("\n".join(lines), hint="tests/cluster/README.md lists the variables") from error

    def missing(self, need: Need, environment: Mapping[str, str]) -> list[str]:
        """The variables and programs without which a test with that need cannot run."""
        lines: list[str] = []
        if need == "cluster":
            lines += [] if self.namespace else [f"{PREFIX}NAMESPACE"]
            config = environment.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
            if not any(Path(part).is_file() for part in config.split(os.pathsep) if part):
                lines.append(f"KUBECONFIG (no file {config})")
            lines += [f"the program {name}" for name in ("kubectl", "helm") if shutil.which(name) is None]
        elif need == "images":
            lines += [] if self.images or self.registry else [f"{PREFIX}IMAGES or {PREFIX}REGISTRY"]
        elif need == "store":
            lines += [] if self.workspace else [f"{PREFIX}WORKSPACE"]
            lines += [name for name in _KEYS if not environment.get(name)]
        elif not self.kfp_host:
            lines.append(f"{PREFIX}KFP_HOST")
        return lines

    def image_values(self) -> dict[str, Any]:
        """The section `images` of a cluster file, and (with other names) of the chart: registry, tag, digests."""
        if self.images is None:
            named = {"registry": self.registry, "tag": self.tag}
            return {name: value for name, value in named.items() if value}
        if not self.images.is_file():
            raise ValueError(f"IMAGES: {self.images}: no such file")
        try:
            held = yaml.safe_load(self.images.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f"IMAGES: {self.images}: not readable as YAML: {error}") from error
        images = held.get("images") if isinstance(held, dict) else None
        if not isinstance(images, dict) or not images.get("registry"):
            raise ValueError(
                f"IMAGES: {self.images}: no key images.registry; `make images PUSH={self.images}` writes it"
            )
        return images


def named_settings(environment: Mapping[str, str]) -> list[str]:
    """The suite's variables that are set, empty ones aside."""
    return sorted(name for name, value in environment.items() if _is_ours(name) and value)


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX)


def _explain(problem: Any) -> str:
    name = PREFIX + str(problem["loc"][0]).upper() if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        known = ", ".join(field.upper() for field in Settings.model_fields)
        return f"{name}: no such variable; known after {PREFIX}: {known}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {message} (got {problem['input']!r})" if name else f"{PREFIX}{message}"
