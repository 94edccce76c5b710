"""What a model costs to use: milliseconds for one image and bytes of its file, in Keras or as it is deployed."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.images import open_images
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.deliver.artefact import load_file
from autotl.deliver.description import MODEL_FILE
from autotl.deliver.export_folder import metadata_of
from autotl.deliver.export_images import NO_IMAGES, ExportImages
from autotl.deliver.export_writing import write_targets
from autotl.deliver.finish import measure_latency
from autotl.deliver.parity import choose_balanced
from autotl.deliver.verify import time_model
from autotl.errors import AutotlError
from autotl.exporters.contract import INT8
from autotl.exporters.registry import parse_format
from autotl.exporters.script import write_script
from autotl.learn.candidate import build_candidate
from autotl.learn.config import read_config
from autotl.learn.ledger import Ledger
from autotl.learn.memory_cap import hold_memory_cap

IMAGES = 20
CALIBRATION_IMAGES = 64  # they decide what an int8 model computes, and nothing of what it costs
FIGURES = ("p50_milliseconds", "p95_milliseconds")


def run_job(payload: Mapping[str, Any], report: Callable[[int, float, dict[str, Any]], bool]) -> dict[str, Any]:
    """Measures a network before it is trained, or a saved model.

    Args:
        payload: `folder` for files on the way; `deploy`, "FORMAT:PRECISION", or None for Keras; `manifest` and `cache`
            {root, max_bytes}, of images for calibration; `plugins` whose layers the model may hold. Of a network
            `config` and `classes`, of a saved model its path `model`.

    Returns:
        p50_milliseconds and p95_milliseconds for one image, bytes, parameters, and the channels of a network's stages.

    Raises:
        AutotlError: the model cannot be written or run in the format.
    """
    hold_memory_cap()
    folder, ledger = Path(payload["folder"]), Ledger()
    folder.mkdir(parents=True, exist_ok=True)
    channels: list[int] = []
    if "model" in payload:
        model = load_file(Path(payload["model"]), payload.get("plugins", ()))
    else:
        with ledger.phase("build"):
            model, channels = build_candidate(read_config(payload["config"]), payload["classes"], ledger)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, *model.input_shape[1:]), dtype=np.uint8)
    with tempfile.TemporaryDirectory(prefix="measure-", dir=folder) as scratch, ledger.phase("measure"):
        file = Path(scratch) / MODEL_FILE
        model.save(file)
        if payload.get("deploy") is None:
            found = {"bytes": file.stat().st_size, **measure_latency(model, images)}
        else:
            found = _measure_deployed(file, images, payload)
    figures = {name: found[name] for name in ("bytes", *FIGURES)}
    return {**figures, "parameters": int(model.count_params()), "channels": channels, "ledger": ledger.to_json()}


def _measure_deployed(file: Path, images: np.ndarray, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a saved model as `autotl export` does, in a child process whatever Keras runs on here, and times it so."""
    exporter, precision = parse_format(payload["deploy"])
    folder, size = file.parent / "artefact", images.shape[1]
    folder.mkdir()
    manifest = Manifest.read(Path(payload["manifest"]))
    needed = _calibration(manifest, size, payload["cache"], file.parent) if precision == INT8 else NO_IMAGES
    metadata = metadata_of({"class_names": manifest.classes, "image_size": size})
    target = {"index": 0, "format": exporter.name, "precision": precision, "folder": str(folder), "metadata": metadata}
    source = {"file": str(file), "plugins": list(payload.get("plugins", ()))}
    (problem,) = write_targets(source, [target], needed, file.parent, lambda index: None).problems.values()
    if problem is not None:
        raise AutotlError(problem)
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    write_script(exporter, folder, size)
    np.save(file.parent / "images.npy", images)
    try:
        latency = time_model(folder, exporter, file.parent / "images.npy", file.parent / "timing")
    except AutotlError as error:
        raise AutotlError(f"As {payload['deploy']} {error}. Deploy in another format or precision.") from error
    return {"bytes": size_bytes, **latency}


def _calibration(manifest: Manifest, image_size: int, cache: Mapping[str, Any], folder: Path) -> ExportImages:
    """Some training images of all classes, laid down in a folder."""
    images = open_images(manifest, image_size, Cache(Path(cache["root"]), cache["max_bytes"]))
    rows = manifest.rows("train")
    chosen = rows[choose_balanced(manifest.labels()[rows], CALIBRATION_IMAGES, seed=0)]
    np.save(folder / "calibration.npy", images[chosen])
    return replace(NO_IMAGES, calibration=folder / "calibration.npy")
