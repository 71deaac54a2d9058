"""The evaluation suites: a folder each, with `suite.yaml`, items and rubrics."""
