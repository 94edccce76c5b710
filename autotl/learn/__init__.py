"""What a worker does: features of frozen networks, heads, fine-tuning, metrics. The room where Keras lives."""
