"""Collect the profiles of all shards into one data set."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("collect-profiles"), install_kfp_package=False)
def collect_profiles(
    workspace: str,
    run: dict,
    profiles: dict,
    engines: dict,
    personas: dsl.Input[dsl.Dataset],
    rows: dsl.Input[list[dsl.Dataset]],
    characters: dsl.Output[dsl.Dataset],
) -> None:
    """Collect the profiles of all shards into one data set.

    Reads the finished profiles from the workspace, in the order of the personas.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        profiles: The section `profiles` of the configuration.
        engines: The section `engines` of the configuration: teachers and judges by name.
        personas: The personas, from `ingest`.
        rows: The shards of `generate-profiles`, which it waits for.

    Returns:
        characters: The character profiles, one a row.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.engines import EngineConfig
    from opencharacter.synthesis import ProfilesConfig, collect_profiles

    with Step("collect-profiles", workspace, run) as step:
        config = ProfilesConfig.model_validate(profiles)
        engine = EngineConfig.model_validate(engines[config.teacher])
        ref = collect_profiles(config, engine, step.ref(personas), workspace=step.workspace, seed=step.seed)
        step.publish(ref, characters)
