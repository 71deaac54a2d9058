"""Register the model as challenger."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("register"), install_kfp_package=False)
def register(
    workspace: str,
    run: dict,
    registry: dict,
    model: dsl.Input[dsl.Model],
    evaluations: dsl.Input[list[dsl.Artifact]],
    registered: dsl.Output[dsl.Model],
) -> None:
    """Register the model as challenger.

    Creates a version of the registered model in MLflow that points at the weights, and sets the alias
    `challenger`. The evaluations become runs of the experiment, which the leaderboard reads. Never cached.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        registry: The section `registry` of the configuration.
        model: The tuned model, from `sft`.
        evaluations: Scores by suite, from `evaluate`.

    Returns:
        registered: The registered version.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.registry import RegistryConfig, register
    from opencharacter.reporting.published import publish_evaluation

    with Step("register", workspace, run) as step:
        config = RegistryConfig.model_validate(registry)
        scores = [step.ref(evaluation) for evaluation in evaluations]
        version = register(config, step.ref(model), scores)
        for evaluation in scores:
            publish_evaluation(evaluation, experiment=config.experiment, traces=config.traces)
        step.publish_version(version, registered)
