"""Write the InferenceService of the champion, and bring it into service where asked to."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("deploy"), install_kfp_package=False)
def deploy(
    workspace: str,
    run: dict,
    deploy: dict,
    promoted: dsl.Input[dsl.Model],
    deployment: dsl.Output[dsl.Artifact],
) -> None:
    """Write the InferenceService of the champion, and bring it into service where asked to."""
    from opencharacter import serving
    from opencharacter.components.runtime import Step

    with Step("deploy", workspace, run) as step:
        config = serving.DeployConfig.model_validate(deploy)
        ref = serving.deploy(config, step.version(promoted), workspace=step.workspace)
        step.publish(ref, deployment)
