"""Read personas and instruction sessions into the workspace."""
