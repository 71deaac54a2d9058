"""The command line: `opencharacter`."""

from opencharacter.cli.app import main

__all__ = ["main"]
