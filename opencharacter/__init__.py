"""Train and serve language models that play any character from its profile (arXiv 2501.15427)."""

__version__ = "0.1.0"
