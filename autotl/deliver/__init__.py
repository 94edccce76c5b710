"""The model folder: written once by the end of a search, opened by everything that uses a model."""
