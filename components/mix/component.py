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
) -> None:
    """Clean, split and mix the dialogues into the training set."""
    from opencharacter import mixing
    from opencharacter.components.runtime import Step

    with Step("mix", workspace, run) as step:
        config = mixing.MixConfig.model_validate(mix)
        sources = (step.ref(dialogues), step.ref(characters))
        ref = mixing.mix(config, *sources, base_model=base_model, workspace=step.workspace, seed=step.seed)
        step.publish(ref, mixture)
