"""Synthesise the character profiles of one shard of the personas."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("generate-profiles"), install_kfp_package=False)
def generate_profiles(
    workspace: str,
    run: dict,
    profiles: dict,
    engines: dict,
    shard: int,
    of: int,
    personas: dsl.Input[dsl.Dataset],
    rows: dsl.Output[dsl.Dataset],
) -> None:
    """Synthesise the character profiles of one shard of the personas."""
    from opencharacter.components.runtime import Step
    from opencharacter.engines import EngineConfig
    from opencharacter.generation.shards import Shard
    from opencharacter.synthesis import ProfilesConfig, synthesise_profiles

    with Step("generate-profiles", workspace, run) as step:
        config = ProfilesConfig.model_validate(profiles)
        engine = EngineConfig.model_validate(engines[config.teacher])
        ref = synthesise_profiles(
            config,
            engine,
            step.ref(personas),
            workspace=step.workspace,
            seed=step.seed,
            shard=Shard(shard, of),
        )
        step.publish(ref, rows)
