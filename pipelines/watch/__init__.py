"""Following a run on a Kubeflow Pipelines server, and reporting how it ended."""
