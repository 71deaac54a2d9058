"""Write the HTML report of the run."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("report"), install_kfp_package=False)
def report(
    workspace: str,
    run: dict,
    name: str,
    decision: dict,
    characters: dsl.Input[dsl.Dataset],
    dialogues: dsl.Input[dsl.Dataset],
    mixture: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluations: dsl.Input[list[dsl.Artifact]],
    registered: dsl.Input[dsl.Model],
    report: dsl.Output[dsl.HTML],
    personas: dsl.Input[dsl.Dataset] = None,
    sessions: dsl.Input[dsl.Dataset] = None,
    profile_rows: dsl.Input[list[dsl.Dataset]] = None,
    response_rows: dsl.Input[list[dsl.Dataset]] = None,
) -> None:
    """Write the HTML report of the run.

    Shows characters, samples of R and G side by side, loss curve, scores and costs on one page. Its stats refer
    to all outputs of the run.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        name: The run's name.
        decision: The decision of `gate`, with its figures.
        characters: The character profiles.
        dialogues: The dialogues.
        mixture: The training set, from `mix`.
        model: The tuned model, from `sft`.
        evaluations: Scores by suite, from `evaluate`.
        registered: The registered version, from `register`.
        personas: The personas; absent where a dataset was imported.
        sessions: The instruction sessions; absent where a dataset was imported.
        profile_rows: The shards of `generate-profiles`.
        response_rows: The shards of `generate-dialogues`.

    Returns:
        report: The page.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.reporting import ReportInputs, make_report
    from opencharacter.storage.kinds import REPORT

    with Step("report", workspace, run) as step:
        inputs = ReportInputs(
            name=name,
            seed=step.seed,
            personas=step.ref(personas) if personas else None,
            sessions=step.ref(sessions) if sessions else None,
            shards=[step.ref(rows) for rows in [*(profile_rows or []), *(response_rows or [])]],
            characters=step.ref(characters),
            dialogues=step.ref(dialogues),
            mixture=step.ref(mixture),
            model=step.ref(model),
            evaluations=[step.ref(evaluation) for evaluation in evaluations],
            decision=decision,
            registered=step.version(registered).model_dump(mode="json"),
        )
        step.publish(make_report(inputs, workspace=step.workspace), report, page=REPORT.name)
