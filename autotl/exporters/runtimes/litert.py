"""Runs `model.tflite` by the LiteRT interpreter, on the processor."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """See the package."""
    interpreter = Interpreter(str(folder / "model.tflite"), num_threads=min(4, os.cpu_count() or 1))
    run = interpreter.get_signature_runner()
    return lambda images: run(image=images)["probabilities"]
