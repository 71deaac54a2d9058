"""The pipeline's steps: one folder each, with the KFP component and what it is for."""
