"""Import the published OpenCharacter release in place of synthesis."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("import-dataset"), install_kfp_package=False)
def import_dataset(
    workspace: str,
    run: dict,
    inputs: dict,
    characters: dsl.Output[dsl.Dataset],
    dialogues: dsl.Output[dsl.Dataset],
) -> None:
    """Import the published OpenCharacter release in place of synthesis.

    Reads `synthetic_character.jsonl` and `synthetic_dialogue.jsonl` of the published release. Replaces the
    synthesis steps of the pipeline where `inputs.dataset` is set.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        inputs: The section `inputs` of the configuration.

    Returns:
        characters: The character profiles.
        dialogues: The dialogues.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.synthesis import InputsConfig, PublishedDataset, import_dataset

    with Step("import-dataset", workspace, run) as step:
        config = InputsConfig.model_validate(inputs)
        source = PublishedDataset.model_validate(config.dataset)
        imported = import_dataset(source, workspace=step.workspace, max_bad_share=config.max_bad_share, seed=step.seed)
        step.publish(imported.characters, characters)
        step.publish(imported.dialogues, dialogues)
