"""Training on this machine: alone, or as one of the nodes of a training."""

import time
from pathlib import Path

from opencharacter import library
from opencharacter.engines import localize_model
from opencharacter.errors import UserError
from opencharacter.records.training import Lineage
from opencharacter.storage.kinds import (
    CARD,
    CELLS,
    LINEAGE,
    LOSS,
    STATISTICS,
    SYSTEM_PROMPT,
    WEIGHTS,
    mixture_template,
)
from opencharacter.storage.workspace import Artifact, ArtifactDraft, Workspace
from opencharacter.system.hardware import visible_gpus
from opencharacter.templates import Template
from opencharacter.training.card import model_card
from opencharacter.training.job import Job, NodeArguments, Nodes, Result, Tracking
from opencharacter.training.launch import exclusive, run_workers

_ROWS = CELLS["train"]


def train_here(task: NodeArguments, workspace: Workspace, nodes: Nodes, *, relay: bool = False) -> Artifact | None:
    """Do this machine's part. The first node commits the output and gets its reference, the others get none.

    `relay` prints what the workers print, for a watcher elsewhere. Raises as `train` does.
    """
    config = task.config
    if not _ROWS.exists(task.mixture):
        raise UserError(f"{task.mixture.uri} is not a mixture: it has no {_ROWS.name}", hint="run the mix step again")
    processes = _processes_here(config.processes, nodes)
    gpus = visible_gpus()
    if 0 < gpus < processes:
        raise UserError(f"{processes} training processes are asked for, but {gpus} GPU(s) are here")
    checkpoints = workspace.checkpoints("checkpoints", _part(task.key, nodes.rank))
    with exclusive(checkpoints.folder) as lock:
        if found := workspace.lookup("model", task.key):
            return found
        if nodes.rank > 0:
            run_workers(_job(task, nodes, checkpoints.folder, checkpoints.folder), lock, relay=relay)
            return None
        began = time.monotonic()
        with workspace.create("model", task.key) as draft:
            job = _job(task, nodes, checkpoints.folder, draft.path)
            result = run_workers(job, lock, relay=relay)
            assert result is not None, "the first node has the result"
            job.result.unlink()
            _describe(draft, result, task)
            draft.stats |= {"wall_s": round(time.monotonic() - began, 3)}
        _forget_checkpoints(workspace, task.key, nodes)
    return draft.committed()


def _processes_here(processes: int, nodes: Nodes) -> int:
    here, rest = divmod(processes, nodes.count)
    if rest:
        raise UserError(
            f"{processes} training processes can't be spread evenly over {nodes.count} nodes",
            hint="make sft.processes a multiple of the number of nodes",
        )
    return here


def _part(key: str, rank: int) -> str:
    """Key of a node's own checkpoints: its part of each, with everything its processes read of it."""
    return key if rank == 0 else f"{key}-node{rank}"


def _forget_checkpoints(workspace: Workspace, key: str, nodes: Nodes) -> None:
    for rank in range(nodes.count):
        workspace.checkpoints("checkpoints", _part(key, rank)).clear()


def _job(task: NodeArguments, nodes: Nodes, folder: Path, output: Path) -> Job:
    prompt = mixture_template(task.mixture)
    return Job(
        config=task.config,
        base_model=localize_model(task.config.base_model),
        rows=task.mixture.file(_ROWS.name),
        folder=folder,
        workspace=task.workspace,
        checkpoints=_part(task.key, nodes.rank),
        nodes=nodes,
        model=output / WEIGHTS,
        result=output / "result.json",
        seed=task.seed,
        tracking=Tracking(
            experiment=task.experiment,
            dataset_uri=task.mixture.uri,
            dataset_digest=task.mixture.digest,
            tags={
                "dataset_digest": task.mixture.digest,
                "system_prompt": STATISTICS.read(task.mixture).system_prompt,
                "prompt_hash": prompt.hash,
                "output_key": task.key,
            },
        ),
    )


def _describe(draft: ArtifactDraft, result: Result, task: NodeArguments) -> None:
    prompt, statistics = mixture_template(task.mixture), STATISTICS.read(task.mixture)
    lineage = Lineage(
        base_model=task.config.base_model,
        mixture_uri=task.mixture.uri,
        mixture_digest=task.mixture.digest,
        licences=statistics.licences,
        system_prompt=statistics.system_prompt,
        prompt_hash=prompt.hash,
        library=library.fingerprint(),
        seed=task.seed,
        config=task.config.model_dump(mode="json"),
    )
    _write_model_folder(draft, lineage, prompt)
    LOSS.write(draft.path, result.losses)
    CARD.write(draft.path, model_card(lineage, task.config, result))
    draft.counts |= result.rows.model_dump()
    draft.stats |= result.model_dump(exclude={"rows", "losses"}) | {"final_loss": result.losses[-1].loss}


def _write_model_folder(draft: ArtifactDraft, lineage: Lineage, prompt: Template) -> None:
    (draft.path / LINEAGE.name).parent.mkdir()
    SYSTEM_PROMPT.write(draft.path, prompt.text)
    LINEAGE.write(draft.path, lineage)
