"""Import characters that exist already in place of profile synthesis."""
