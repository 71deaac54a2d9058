"""Register the model as challenger."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("register"), install_kfp_package=False)
def register(
    workspace: str,
    run: dict,
    registry: dict,
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    registered: dsl.Output[dsl.Model],
) -> None:
    """Register the model as challenger."""
    from opencharacter.components.runtime import Step
    from opencharacter.registry import RegistryConfig, register

    with Step("register", workspace, run) as step:
        version = register(RegistryConfig.model_validate(registry), step.ref(model), step.ref(evaluation))
        step.publish_version(version, registered)
