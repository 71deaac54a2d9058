"""Compiling the pipeline to KFP's intermediate representation (IR)."""

import tempfile
from pathlib import Path
from typing import Any

import yaml

from opencharacter.errors import UserError
from opencharacter.pipelines.config import RunConfig
from opencharacter.pipelines.dag import build_pipeline


def compile_pipeline(config: RunConfig, target: Path, *, workspace: str | None = None) -> Path:
    """Write the IR of a run to `target` (.yaml or .json). `workspace` becomes the parameter's default.

    Raises `UserError` for another ending.
    """
    from kfp import compiler

    if target.suffix not in (".yaml", ".yml", ".json"):
        raise UserError(f"{target}: expected a name that ends in .yaml or .json")
    parameters = {"workspace": workspace} if workspace else None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        draft = Path(scratch) / target.name
        compiler.Compiler().compile(build_pipeline(config), str(draft), pipeline_parameters=parameters)
        draft.replace(target)
    return target


def read_ir(path: Path) -> dict[str, Any]:
    """The pipeline spec of a compiled file, without platform settings."""
    spec: dict[str, Any] = next(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    return spec
