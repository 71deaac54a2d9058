"""Look up the present champion in the registry."""
