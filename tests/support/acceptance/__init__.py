"""What the acceptance suite (tests/cluster) is made of. Nothing here needs a cluster to be imported."""
