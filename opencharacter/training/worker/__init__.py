"""What only a training process imports: `accelerate launch -m opencharacter.training.worker JOB.json`."""
