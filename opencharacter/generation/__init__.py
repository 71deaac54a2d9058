"""LLM calls made once and kept: durable rows, shared by synthesis and evaluation."""
