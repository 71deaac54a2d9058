"""Rewrite (R) and generate (G) the in-character responses of one shard."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("generate-dialogues"), install_kfp_package=False)
def generate_dialogues(
    workspace: str,
    run: dict,
    responses: dict,
    inputs: dict,
    engines: dict,
    shard: int,
    of: int,
    sessions: dsl.Input[dsl.Dataset],
    characters: dsl.Input[dsl.Dataset],
    rows: dsl.Output[dsl.Dataset],
) -> None:
    """Rewrite (R) and generate (G) the in-character responses of one shard.

    Draws characters for each session and lets the teacher rewrite (R) or answer (G) it in character (paper,
    sections 3.2 and 3.3). Runs once a shard under `ParallelFor`. Each finished call is kept in the workspace.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        responses: The section `responses` of the configuration.
        inputs: The section `inputs` of the configuration.
        engines: The section `engines` of the configuration: teachers and judges by name.
        shard: Number of this shard, from 0.
        of: Number of shards.
        sessions: The instruction sessions, from `ingest`.
        characters: The character profiles.

    Returns:
        rows: The dialogues of this shard.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.engines import EngineConfig
    from opencharacter.generation.shards import Shard
    from opencharacter.synthesis import InputsConfig, ResponsesConfig, synthesise_responses

    with Step("generate-dialogues", workspace, run) as step:
        config = ResponsesConfig.model_validate(responses)
        corpora = InputsConfig.model_validate(inputs).corpora
        teachers = {name: EngineConfig.model_validate(engine) for name, engine in engines.items()}
        ref = synthesise_responses(
            config,
            corpora,
            teachers,
            step.ref(sessions),
            step.ref(characters),
            workspace=step.workspace,
            seed=step.seed,
            system_prompt=step.system_prompt,
            shard=Shard(shard, of),
        )
        step.publish(ref, rows)
