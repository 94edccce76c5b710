"""Writing a new plugin package from templates."""
