"""Whether a judge can be believed: canaries, repeatability, biases, agreement with other judges and with people."""
