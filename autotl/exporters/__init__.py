"""What a model can be written as: the contract of an exporter, the registry over entry points, the built-in formats."""
