"""Measure base, challenger and champion with one suite."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("evaluate"), install_kfp_package=False)
def evaluate(
    workspace: str,
    run: dict,
    suite: str,
    evaluate: dict,
    engines: dict,
    base_model: str,
    model: dsl.Input[dsl.Model],
    champion: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    mixture: dsl.Input[dsl.Dataset] = None,
    suite_digest: str = "",
) -> None:
    """Measure base, challenger and champion with one suite.

    The suite `grid` measures response-token loss, profile-swap gap and, with a judge, its scores on every cell of the
    run's split grid; other suites say themselves what they measure. The models are asked for answers in this step's
    own vLLM.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        suite: Name of a packaged suite, an `s3://` prefix or an `hf://` id; one of `evaluate.suites`.
        evaluate: The section `evaluate` of the configuration.
        engines: The section `engines` of the configuration: teachers and judges by name.
        base_model: The model that is fine-tuned: hub id or folder.
        model: The tuned model, from `sft`.
        champion: The present champion, from `get-champion`; without a digest where there is none.
        mixture: The training set, from `mix`; only the suite `grid` reads it.
        suite_digest: The version that the suite must have, so that KFP's cache is sound; empty: any.

    Returns:
        evaluation: Scores by question, their means and intervals, the answers.
        metrics: Mean of each score, as `model/cell/metric`.
    """
    from opencharacter import evaluation as library
    from opencharacter.components.runtime import Step
    from opencharacter.engines import EngineConfig
    from opencharacter.storage.kinds import SUMMARY

    with Step("evaluate", workspace, run) as step:
        config = library.EvaluateConfig.model_validate(evaluate)
        models = {"base": base_model, "challenger": str(step.ref(model).path / "model")}
        if "digest" in champion.metadata:
            models["champion"] = champion.metadata["uri"]
        ref = library.evaluate_suite(
            suite,
            config,
            models=models,
            judges={name: EngineConfig.model_validate(engines[name]) for name in config.judges},
            mixture=step.ref(mixture) if mixture else None,
            version=suite_digest,
            workspace=step.workspace,
            seed=step.seed,
        )
        step.publish(ref, evaluation)
        means = {f"{score.model}/{score.cell}/{score.metric}": score.mean for score in SUMMARY.read(ref).scores}
        step.log_metrics(means, metrics)
