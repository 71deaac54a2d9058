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
    """Move the alias champion to the registered version."""
    from opencharacter.components.runtime import Step
    from opencharacter.evaluation import GateDecision
    from opencharacter.registry import RegistryConfig, promote

    with Step("promote", workspace, run) as step:
        config = RegistryConfig.model_validate(registry)
        gate_decision = GateDecision.model_validate(decision)
        champion = promote(config, version=step.version(registered).version, decision=gate_decision)
        step.publish_version(champion, promoted)
