"""The shipped run configurations."""
