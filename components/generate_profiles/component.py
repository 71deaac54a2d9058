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
    """Synthesise the character profiles of one shard of the personas.

    Turns each persona of its shard into a profile with eight attributes (paper, section 3.1). Runs once a shard
    under `ParallelFor`. Finished rows are kept in the workspace: a second attempt continues after them.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        profiles: The section `profiles` of the configuration.
        engines: The section `engines` of the configuration: teachers and judges by name.
        shard: Number of this shard, from 0.
        of: Number of shards.
        personas: The personas, from `ingest`.

    Returns:
        rows: The profiles of this shard.
    """
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
