"""Data that come with the library: the demo's."""
