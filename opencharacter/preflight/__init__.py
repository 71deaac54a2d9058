"""Checks before anything is installed or submitted: what a run would miss on a cluster, in plain words."""
