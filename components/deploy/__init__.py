"""Write the InferenceService of the champion, and bring it into service where asked to."""
