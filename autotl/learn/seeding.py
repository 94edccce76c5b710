"""Where first weights come from: the seed of everything that Keras draws when it builds a layer."""

import random

import numpy as np


def seed_building(seed: int) -> None:
    """Have the weights of layers that are built from now on depend on the seed alone.

    As `keras.utils.set_random_seed`, but for TensorFlow's own seed, from which Keras draws nothing: setting that throws
    away what TensorFlow has made of its traced graphs, and the next step of each costs as much as its compilation
    (4 CPU-seconds for EfficientNet-Lite0, benchmarks/seeding.py).
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        random.seed(seed)  # initialisers and layers without a seed of their own take one from here
        np.random.seed(seed)
    else:
        keras.utils.set_random_seed(seed)
