"""Write the InferenceService of the champion, and apply it where told to."""
