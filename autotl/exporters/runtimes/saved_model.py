"""Runs the folder `saved_model` by TensorFlow."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """See the package."""
    model = tf.saved_model.load(folder / "saved_model")
    return lambda images: model.serve(tf.constant(images))["probabilities"].numpy()
