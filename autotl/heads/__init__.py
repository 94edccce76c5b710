"""What is put on a backbone: the contract of heads, the registry over entry points, the built-in ones."""
