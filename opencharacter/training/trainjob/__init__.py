"""Training over several nodes, as a Kubeflow Trainer v2 TrainJob."""

from opencharacter.training.trainjob.launcher import run_train_job
from opencharacter.training.trainjob.settings import TRAINJOB_VARIABLE, SecretVariable, TrainJobSettings

__all__ = ["TRAINJOB_VARIABLE", "SecretVariable", "TrainJobSettings", "run_train_job"]
