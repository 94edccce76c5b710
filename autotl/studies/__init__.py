"""Studies: what pretraining makes, what transfer is worth, and how networks compare. Drivers only; no Keras."""
