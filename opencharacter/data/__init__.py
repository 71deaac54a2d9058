"""Data that come with the library: the demo, and the answers of `judge-check` (our own, CC0)."""
