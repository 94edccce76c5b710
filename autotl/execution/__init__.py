"""Turns jobs into events on slots (a GPU, a CPU share) and survives the death of the processes that run them."""
