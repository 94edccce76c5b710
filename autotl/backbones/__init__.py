"""Pretrained networks: the contract, the registry over entry points, cuts, the built-in zoo."""
