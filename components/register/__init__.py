"""Register the model as challenger."""
