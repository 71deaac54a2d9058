"""Following a run on a Kubeflow Pipelines server, and telling how it ended."""
