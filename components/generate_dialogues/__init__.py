"""Rewrite (R) and generate (G) the in-character responses of one shard."""
