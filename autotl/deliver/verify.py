"""Checks an exported model where it will be used: in a fresh process, by its own script, with its runtime alone."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from autotl.deliver import child_verify
from autotl.deliver.child import run_child
from autotl.deliver.export_images import ExportImages
from autotl.deliver.export_targets import Target
from autotl.deliver.parity import BATCH_SIZES, Answers, compare
from autotl.errors import AutotlError

HIDDEN = (
    "ai_edge_litert", "autotl", "flax", "jax", "jaxlib", "keras", "keras_hub", "onnx", "onnxruntime", "openvino",
    "tensorflow", "tf2onnx", "torch",
)  # fmt: skip
"""Import names that a model must do without, unless its exporter says that it needs them."""


def verify_model(
    folder: Path, target: Target, images: ExportImages, expected: Answers, work: Path, needs: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Runs a written model and compares it with the one that it was made of.

    Args:
        folder: where it lies, with its script.
        target: what it is.
        images: what to compare on.
        expected: what the model itself says of them.
        work: a folder for what comes up on the way.
        needs: import names that may not be hidden, beside the runtime's.

    Returns:
        Parity as `compare` gives it, with the number of images; and the latency. Of a model that does not run, a
        parity that did not pass, and None.
    """
    limits = target.exporter.precisions[target.precision]
    counts = {"n": images.chosen_count, "synthetic": 3, "batch_sizes": list(BATCH_SIZES)}
    try:
        found, latency = _run(folder, target, images, expected, work, needs)
    except AutotlError as error:
        return {"passed": False, "problems": [str(error)], **counts}, None
    return {**compare(expected, found, images.labels, limits), **counts}, latency


def _run(
    folder: Path, target: Target, images: ExportImages, expected: Answers, work: Path, needs: Collection[str]
) -> tuple[Answers, dict[str, Any]]:
    work.mkdir()
    allowed = {*target.exporter.runtime_packages, *needs}
    job = {
        "folder": str(folder),
        "hidden": [name for name in HIDDEN if name not in allowed],
        "images": str(images.chosen),
        "validation": str(images.validation),
        "batch_sizes": list(BATCH_SIZES),
        "answers": str(work),
    }
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    ending = run_child(
        [str(Path(child_verify.__file__)), str(work / "job.json")], work / "log.txt", lambda message: None
    )
    if ending.code != 0:
        raise AutotlError(f"it does not run: its process {ending.words}")
    chosen = [_load(work / f"batch-{size}.npy", expected.chosen[0].shape) for size in BATCH_SIZES]
    validation = _load(work / "validation.npy", expected.validation.shape)
    return Answers(chosen, validation), json.loads((work / "latency.json").read_text(encoding="utf-8"))


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    found = np.load(path, allow_pickle=False)
    if found.shape != shape or not np.issubdtype(found.dtype, np.floating):
        raise AutotlError(f"it gives {found.dtype} {list(found.shape)} where probabilities {list(shape)} are expected")
    return found
