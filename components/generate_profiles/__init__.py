"""Synthesise the character profiles of one shard of the personas."""
