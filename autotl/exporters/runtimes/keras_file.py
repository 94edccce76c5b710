"""Runs `model.keras` by Keras, in safe mode: no code comes out of a file."""

from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path

import keras
import numpy as np


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """See the package."""
    for entry in entry_points(group="autotl.layers"):  # layers that installed plugins add to Keras
        with suppress(Exception):
            entry.load()
    return keras.saving.load_model(folder / "model.keras", safe_mode=True, compile=False).predict_on_batch
