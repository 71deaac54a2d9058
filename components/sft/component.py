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
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Fine-tune the base model on the mixture.

    Supervised fine-tuning with TRL and DeepSpeed ZeRO; the loss counts response tokens only. Trains in its own
    pod, or in a Kubeflow TrainJob over several nodes where the cluster's `steps.sft.nodes` is above 1.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        sft: The section `sft` of the configuration.
        registry: The section `registry` of the configuration.
        mixture: The training set, from `mix`.

    Returns:
        model: The tuned model, with its model card and loss curve.
        metrics: Final loss, steps, tokens per second, training time, rows.
    """
    from opencharacter import training
    from opencharacter.components.runtime import Step
    from opencharacter.registry import RegistryConfig

    with Step("sft", workspace, run) as step:
        config = training.SftConfig.model_validate(sft)
        data = step.ref(mixture)
        experiment = RegistryConfig.model_validate(registry).experiment
        ref = training.train(config, data, workspace=step.workspace, seed=step.seed, experiment=experiment)
        step.publish(ref, model)
        step.log_metrics(ref.counts | ref.stats, metrics)
