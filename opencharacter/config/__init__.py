"""The run configuration, and the reading of the YAML files that people write."""
