"""Import characters that exist already in place of profile synthesis."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("import-characters"), install_kfp_package=False)
def import_characters(
    workspace: str,
    run: dict,
    inputs: dict,
    characters: dsl.Output[dsl.Dataset],
) -> None:
    """Import characters that exist already in place of profile synthesis.

    Reads the characters of the published release, or those of a finished run, so that several runs play one cast.
    Replaces the steps that make profiles where `inputs.characters` is set.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        inputs: The section `inputs` of the configuration.

    Returns:
        characters: The character profiles.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.synthesis import CharacterSource, InputsConfig, import_characters

    with Step("import-characters", workspace, run) as step:
        config = InputsConfig.model_validate(inputs)
        source = CharacterSource.model_validate(config.characters)
        imported = import_characters(
            source, workspace=step.workspace, max_bad_share=config.max_bad_share, seed=step.seed
        )
        step.publish(imported, characters)
