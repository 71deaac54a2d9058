"""Serving: the KServe transformer, a local server, a terminal chat and the deployment manifest."""
