"""Collect the profiles of all shards into one data set."""
