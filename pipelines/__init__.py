"""The pipeline: run configuration, DAG, and the ways to compile, run and submit it."""
