"""Runs `model.onnx` by ONNX Runtime, on the processor."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """See the package."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"image": images})[0]
