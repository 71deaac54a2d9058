"""Move the alias champion to the registered version."""
