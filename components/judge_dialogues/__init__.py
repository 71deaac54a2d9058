"""Collect the responses of all shards into one data set."""
