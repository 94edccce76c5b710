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
from autotl.exporters.contract import Exporter
from autotl.exporters.script import SCRIPT_FILE

TIMEOUT_SECONDS = 1800.0

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
        found, latency = _answers(folder, target, images, expected, work, needs)
    except AutotlError as error:
        return {"passed": False, "problems": [str(error)], **counts}, None
    return {**compare(expected, found, images.labels, limits), **counts}, latency


def time_model(folder: Path, exporter: Exporter, images: Path, work: Path) -> dict[str, Any]:
    """The latency of a written model, measured as `verify_model` does.

    Args:
        folder: where it lies, with its script.
        exporter: of its format.
        images: a `.npy` of uint8 `[n, S, S, 3]`, which are given one by one.
        work: a folder for what comes up on the way.

    Raises:
        AutotlError: it does not run.
    """
    return _run_script(folder, exporter, work, images=images, validation=None, batch_sizes=(), needs=())


def _answers(
    folder: Path, target: Target, images: ExportImages, expected: Answers, work: Path, needs: Collection[str]
) -> tuple[Answers, dict[str, Any]]:
    assert images.chosen is not None
    latency = _run_script(
        folder, target.exporter, work,
        images=images.chosen, validation=images.validation, batch_sizes=BATCH_SIZES, needs=needs,
    )  # fmt: skip
    chosen = [_load(work / f"batch-{size}.npy", expected.chosen[0].shape) for size in BATCH_SIZES]
    return Answers(chosen, _load(work / "validation.npy", expected.validation.shape)), latency


def _run_script(
    folder: Path,
    exporter: Exporter,
    work: Path,
    *,
    images: Path,
    validation: Path | None,
    batch_sizes: Collection[int],
    needs: Collection[str],
) -> dict[str, Any]:
    """A job of `child_verify`, whose answers it leaves in `work`; the latency."""
    work.mkdir()
    allowed = {*exporter.runtime_packages, *needs}
    job = {
        "script": str(folder / SCRIPT_FILE),
        "hidden": [name for name in HIDDEN if name not in allowed],
        "images": str(images),
        "validation": None if validation is None else str(validation),
        "batch_sizes": list(batch_sizes),
        "answers": str(work),
    }
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [str(Path(child_verify.__file__)), str(work / "job.json")]
    ending = run_child(command, work / "log.txt", lambda message: None, TIMEOUT_SECONDS)
    if ending.code != 0:
        raise AutotlError(f"it does not run: its process {ending.words}")
    latency: dict[str, Any] = json.loads((work / "latency.json").read_text(encoding="utf-8"))
    return latency


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    found = np.load(path, allow_pickle=False)
    if found.shape != shape or not np.issubdtype(found.dtype, np.floating):
        raise AutotlError(f"it gives {found.dtype} {list(found.shape)} where probabilities {list(shape)} are expected")
    return found
