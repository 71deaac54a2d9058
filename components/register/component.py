"""Register the model as challenger."""

from kfp import dsl

from opencharacter.components.images import image_reference


@dsl.component(base_image=image_reference("tools"), install_kfp_package=False)
def register(
    workspace: str,
    run: dict,
    registry: dict,
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    registered: dsl.Output[dsl.Model],
) -> None:
    """Register the model as challenger."""
    from opencharacter.components.runtime import Step, point
    from opencharacter.registry import RegistryConfig, register

    with Step("register", workspace, run) as step:
        version = register(RegistryConfig.model_validate(registry), step.ref(model), step.ref(evaluation))
        point(registered, **version.model_dump(mode="json"))
