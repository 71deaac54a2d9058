"""Fine-tune the base model on the mixture."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("sft"), install_kfp_package=False)
def sft(
    workspace: str,
    run: dict,
    sft: dict,
    registry: dict,
    mixture: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
) -> None:
    """Fine-tune the base model on the mixture."""
    from opencharacter import training
    from opencharacter.components.runtime import Step
    from opencharacter.registry import RegistryConfig

    with Step("sft", workspace, run) as step:
        config = training.SftConfig.model_validate(sft)
        data = step.ref(mixture)
        experiment = RegistryConfig.model_validate(registry).experiment
        ref = training.train(config, data, workspace=step.workspace, seed=step.seed, experiment=experiment)
        step.publish(ref, model)
