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
    """Write the InferenceService of the champion, and bring it into service where asked to.

    With `deploy.apply` it also applies the InferenceService, waits until it serves and asks it a question.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        deploy: The section `deploy` of the configuration.
        promoted: The version that became champion, from `promote`.

    Returns:
        deployment: The manifest.
    """
    from opencharacter import serving
    from opencharacter.components.runtime import Step

    with Step("deploy", workspace, run) as step:
        config = serving.DeployConfig.model_validate(deploy)
        ref = serving.deploy(config, step.version(promoted), workspace=step.workspace)
        step.publish(ref, deployment)
