"""Judge the dialogues: keep the good ones, have others rewritten once, drop the rest."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("judge-dialogues"), install_kfp_package=False)
def judge_dialogues(
    workspace: str,
    run: dict,
    quality: dict,
    engines: dict,
    dialogues: dsl.Input[dsl.Dataset],
    characters: dsl.Input[dsl.Dataset],
    judged: dsl.Output[dsl.Dataset],
) -> None:
    """Judge the dialogues: keep the good ones, have others rewritten once, drop the rest.

    A judge scores each dialogue from 1 to 5. Below the threshold it rewrites the answers with its own reason in hand,
    and judges them again. The pipeline has this step only if the configuration has a section `quality`.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        quality: The section `quality` of the configuration.
        engines: The section `engines` of the configuration: teachers and judges by name.
        dialogues: The dialogues of synthesis, or imported ones.
        characters: The character profiles.

    Returns:
        judged: The dialogues that are kept, each with its score; the others with their reasons.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.engines import EngineConfig
    from opencharacter.synthesis import QualityConfig, judge_dialogues

    with Step("judge-dialogues", workspace, run) as step:
        config = QualityConfig.model_validate(quality)
        judge = EngineConfig.model_validate(engines[config.engine])
        ref = judge_dialogues(
            config, judge, step.ref(dialogues), step.ref(characters), workspace=step.workspace, seed=step.seed
        )
        step.publish(ref, judged)
