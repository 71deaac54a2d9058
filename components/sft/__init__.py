"""Fine-tune the base model on the mixture."""
