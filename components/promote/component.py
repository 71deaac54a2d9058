"""Move the alias champion to the registered version."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("promote"), install_kfp_package=False)
def promote(
    workspace: str,
    run: dict,
    registry: dict,
    decision: dict,
    registered: dsl.Input[dsl.Model],
    promoted: dsl.Output[dsl.Model],
) -> None:
    """Move the alias champion to the registered version.

    Runs only if the gate has passed. Never cached: the alias may have moved since.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        registry: The section `registry` of the configuration.
        decision: The decision of `gate`, with its figures.
        registered: The registered version, from `register`.

    Returns:
        promoted: The version that is champion now.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.evaluation import GateDecision
    from opencharacter.registry import RegistryConfig, promote

    with Step("promote", workspace, run) as step:
        config = RegistryConfig.model_validate(registry)
        gate_decision = GateDecision.model_validate(decision)
        champion = promote(config, version=step.version(registered).version, decision=gate_decision)
        step.publish_version(champion, promoted)
