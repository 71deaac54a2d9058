"""Supervised fine-tuning of a base model on a mixture.

Which process runs what:

* step process: the pipeline's sft step, or any Python process that calls `train`. `sft.py` looks the model up, then
  trains on this machine (`node_training.py`) or in a TrainJob.
* launcher of a TrainJob: the step process, too. `trainjob/` creates the job, follows its pods' logs, ends as it ends.
* node: `python -m opencharacter.training.node` in each pod of a TrainJob. `node.py` runs `node_training.py`.
* worker: one training process for each GPU, started by `launch.py` in the step or node process with accelerate:
  `python -m opencharacter.training.worker JOB.json`. Its code is in `worker/`.

`job.py` holds what passes between them: node arguments, the job file, events on standard output, the result file. Only
`worker/` imports torch, transformers and TRL.
"""

from opencharacter.training.sft import train
from opencharacter.training.sft_config import LoraSettings, SftConfig

__all__ = ["LoraSettings", "SftConfig", "train"]
