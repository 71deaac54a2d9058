"""Score base, challenger and champion on every cell of the split grid."""
