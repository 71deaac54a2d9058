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
    """Rewrite (R) and generate (G) the in-character responses of one shard."""
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
            shard=Shard(shard, of),
        )
        step.publish(ref, rows)
