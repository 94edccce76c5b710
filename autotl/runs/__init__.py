"""The run directory: create, lock, record, read back. Knows files and nothing of what is searched."""
