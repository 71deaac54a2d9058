"""Decide whether the challenger beats the champion."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("gate"), install_kfp_package=False)
def gate(
    workspace: str,
    run: dict,
    gate: dict,
    registry: dict,
    evaluations: dsl.Input[list[dsl.Artifact]],
    decision: dsl.OutputPath(dict),  # type: ignore[valid-type]
) -> bool:
    """Decide whether the challenger beats the champion.

    One primary comparison on the same questions must show a gain, and no guard may get worse by more than its
    margin. Where there is no champion, the challenger must beat the base model.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        gate: The section `gate` of the configuration.
        registry: The section `registry` of the configuration; comparisons are counted there.
        evaluations: Scores by suite, from `evaluate`.

    Returns:
        decision: The decision with its figures.
        Output: Whether the challenger becomes champion.
    """
    import json
    from pathlib import Path

    from opencharacter.components.runtime import Step
    from opencharacter.evaluation import GateConfig
    from opencharacter.evaluation import gate as decide
    from opencharacter.registry import ComparisonLedger, RegistryConfig

    with Step("gate", workspace, run) as step:
        ledger = ComparisonLedger(RegistryConfig.model_validate(registry))
        outputs = [step.ref(one) for one in evaluations]
        gate_decision = decide(GateConfig.model_validate(gate), outputs, ledger=ledger)
        # A parameter cannot hold null; what may be null in a decision is so by default.
        Path(decision).write_text(json.dumps(gate_decision.model_dump(mode="json", exclude_none=True)))
        return gate_decision.passed
