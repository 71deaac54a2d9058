"""Clean, split and mix the dialogues into the training set."""
