"""A pipeline of your own that imports two components of opencharacter: your data set becomes a training set.

    python examples/own_pipeline.py            # writes own_pipeline.yaml, for KFP's interface or `kfp run create`

`import_dataset` reads characters and dialogues in the published form, `mix` cleans and splits them. `check_size` is
yours: any component can read an output, since the metadata of an artifact name its folder.
"""

from kfp import compiler, dsl

from opencharacter.components.import_dataset.component import import_dataset
from opencharacter.components.mix.component import mix
from opencharacter.config.run import run_identity


@dsl.component(base_image="python:3.12-slim")
def check_size(mixture: dsl.Input[dsl.Dataset], least_rows: int) -> int:
    """Fail if there is too little to train on; returns the number of training rows."""
    rows = int(mixture.metadata["train"])
    if rows < least_rows:
        raise ValueError(f"{rows} rows to train on; expected at least {least_rows}")
    return rows


@dsl.pipeline(name="own-training-set", description="A data set of ours, mixed and checked.")
def own_training_set(
    workspace: str,
    inputs: dict,
    base_model: str = "meta-llama/Llama-3.1-8B-Instruct",
    mix_settings: dict = {"held_out": {"characters": 0.05, "sessions": 0.05}},  # noqa: B006
    least_rows: int = 1000,
    run: dict = run_identity(seed=0),  # noqa: B008
) -> int:
    """Import, mix, check.

    `workspace` is a folder or `s3://BUCKET/PREFIX`; `inputs` is the section of a run's configuration, such as
    `{"dataset": {"characters": "s3://…/characters.jsonl", "dialogues": "s3://…/dialogues.jsonl"}}`.
    """
    common = {"workspace": workspace, "run": run}
    data = import_dataset(**common, inputs=inputs)
    mixture = mix(
        **common,
        mix=mix_settings,
        base_model=base_model,
        dialogues=data.outputs["dialogues"],
        characters=data.outputs["characters"],
    )
    return check_size(mixture=mixture.outputs["mixture"], least_rows=least_rows).output


if __name__ == "__main__":
    compiler.Compiler().compile(own_training_set, "own_pipeline.yaml")
