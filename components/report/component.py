"""Write the HTML report of the run."""

from kfp import dsl

from opencharacter.components.images import image_reference


@dsl.component(base_image=image_reference("tools"), install_kfp_package=False)
def report(
    workspace: str,
    run: dict,
    name: str,
    decision: dict,
    characters: dsl.Input[dsl.Dataset],
    dialogues: dsl.Input[dsl.Dataset],
    mixture: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    registered: dsl.Input[dsl.Model],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Write the HTML report of the run."""
