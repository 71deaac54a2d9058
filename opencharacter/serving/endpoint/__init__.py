"""The endpoint that applications call: the transformer's own half, before KServe's model server and behind it vLLM."""
