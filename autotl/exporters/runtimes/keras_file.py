"""Runs `model.keras` by Keras, in safe mode: no code comes out of a file."""

from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path

import keras
import numpy as np


def load(folder: Path):
    """See the package."""
    for entry in entry_points(group="autotl.layers"):  # layers that installed plugins add to Keras
        with suppress(Exception):
            entry.load()
    model = keras.saving.load_model(folder / "model.keras", safe_mode=True, compile=False)

    def predict(images: np.ndarray) -> np.ndarray:  # always 32 at once: an image's scores repeat to the last digit
        padded = np.pad(images, ((0, -len(images) % 32), (0, 0), (0, 0), (0, 0)))
        return np.concatenate([*map(model.predict_on_batch, np.split(padded, len(padded) // 32))])[: len(images)]

    return predict
