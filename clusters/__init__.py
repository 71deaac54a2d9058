"""Shipped clusters: one YAML each."""
