"""Shipped cluster profiles: one YAML each."""
