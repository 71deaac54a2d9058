"""Clean, split and mix the dialogues into the training set."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("mix"), install_kfp_package=False)
def mix(
    workspace: str,
    run: dict,
    mix: dict,
    base_model: str,
    dialogues: dsl.Input[dsl.Dataset],
    characters: dsl.Input[dsl.Dataset],
    mixture: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Clean, split and mix the dialogues into the training set.

    Removes duplicates, filters by length, weighs the strategies and splits by characters and sessions, so that no
    held-out character or session is trained on.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        mix: The section `mix` of the configuration.
        base_model: The model that is fine-tuned: hub id or folder.
        dialogues: The dialogues.
        characters: The character profiles.

    Returns:
        mixture: The training set and its evaluation cells.
        metrics: Rows of each cell, and rows dropped by reason.
    """
    from opencharacter import mixing
    from opencharacter.components.runtime import Step

    with Step("mix", workspace, run) as step:
        config = mixing.MixConfig.model_validate(mix)
        sources = (step.ref(dialogues), step.ref(characters))
        ref = mixing.mix(
            config,
            *sources,
            base_model=base_model,
            workspace=step.workspace,
            seed=step.seed,
            system_prompt=step.system_prompt,
        )
        step.publish(ref, mixture)
        step.log_metrics(ref.counts, metrics)
