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
    """Register the model as challenger.

    Creates a version of the registered model in MLflow that points at the weights, and sets the alias
    `challenger`. Never cached.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        registry: The section `registry` of the configuration.
        model: The tuned model, from `sft`.
        evaluation: Scores, from `evaluate`.

    Returns:
        registered: The registered version.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.registry import RegistryConfig, register

    with Step("register", workspace, run) as step:
        version = register(RegistryConfig.model_validate(registry), step.ref(model), step.ref(evaluation))
        step.publish_version(version, registered)
