"""Score base, challenger and champion on every cell of the split grid."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("evaluate"), install_kfp_package=False)
def evaluate(
    workspace: str,
    run: dict,
    evaluate: dict,
    engines: dict,
    base_model: str,
    mixture: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    champion: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
) -> None:
    """Score base, challenger and champion on every cell of the split grid."""
    from opencharacter import evaluation as library
    from opencharacter.components.runtime import Step
    from opencharacter.engines import EngineConfig

    with Step("evaluate", workspace, run) as step:
        config = library.EvaluateConfig.model_validate(evaluate)
        judge = EngineConfig.model_validate(engines[config.judge.engine]) if config.judge else None
        models = {"base": base_model, "challenger": str(step.ref(model).path / "model")}
        if "digest" in champion.metadata:
            models["champion"] = champion.metadata["uri"]
        data = step.ref(mixture)
        ref = library.evaluate(config, data, models=models, judge=judge, workspace=step.workspace, seed=step.seed)
        step.publish(ref, evaluation)
