"""Measure base, challenger and champion with one suite."""
