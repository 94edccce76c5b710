"""Runs `model.xml` and `model.bin` by OpenVINO, on the processor."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """See the package."""
    # Some processors would compute in bfloat16 unless told otherwise.
    model = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: model(images)["probabilities"]
