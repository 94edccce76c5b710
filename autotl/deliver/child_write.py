"""Writes a model in several formats, one after the other, in a process of its own: `python -m` with a job file."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from autotl.deliver.artefact import load_file, load_model, open_artefact
from autotl.deliver.child import end_with_parent, open_channel, tell
from autotl.deliver.predictor import BATCH_SIZE, keras_predictor
from autotl.errors import AutotlError

IMAGES_ANSWERS = "expected-images.npy"
VALIDATION_ANSWERS = "expected-validation.npy"


def main(job_path: str) -> None:
    """Does a job, and tells of each format when it begins and how it ended.

    Args:
        job_path: JSON: of a model folder, its path `model` and `trust`, of a file that this machine has just written
            its path `file` and `plugins` (see `load_file`); `images`, `validation`, `calibration`: paths of `.npy` with
            images uint8 `[n, S, S, 3]`, or null; `answers`: folder for what the model itself says of the first two;
            `targets`: [{index, format, precision, folder, metadata: {name: text}}].
    """
    end_with_parent()
    channel = open_channel()
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    try:
        given = _load(job)
        from autotl.exporters.float32 import as_float32

        model = as_float32(given)
        _answer(model, job)
    except AutotlError as error:
        tell(channel, event="error", kind=error.kind, message=str(error))
        raise SystemExit(1) from error
    tell(channel, event="ready", rebuilt=model is not given)
    calibration = None if job["calibration"] is None else np.load(job["calibration"], allow_pickle=False)
    for target in job["targets"]:
        _write(channel, model, calibration, target)


def _load(job: Mapping[str, Any]) -> Any:
    if "file" in job:
        return load_file(Path(job["file"]), job["plugins"])
    return load_model(open_artefact(job["model"], trust=job["trust"]))


def _answer(model: Any, job: Mapping[str, Any]) -> None:
    """What the model says of the images that models are compared on, unless an earlier process has noted that."""
    for name, file in (("images", IMAGES_ANSWERS), ("validation", VALIDATION_ANSWERS)):
        path = Path(job["answers"]) / file
        if job[name] is None or path.exists():
            continue
        images, predict = np.load(job[name], mmap_mode="r", allow_pickle=False), keras_predictor(model)
        starts = range(0, len(images), BATCH_SIZE)
        np.save(path, np.concatenate([predict(np.array(images[start : start + BATCH_SIZE])) for start in starts]))


def _write(channel: TextIO, model: Any, calibration: Any, target: Mapping[str, Any]) -> None:
    from autotl.exporters.contract import INT8, Export
    from autotl.exporters.conversion import explained
    from autotl.exporters.registry import load_exporter

    tell(channel, event="begin", index=target["index"])
    problem = None
    try:
        exporter = load_exporter(target["format"])
        path, precision = Path(target["folder"]) / exporter.file, target["precision"]
        images = calibration if precision == INT8 else None
        with explained(exporter.file, precision):
            exporter.write(Export(model, path, precision, images, target["metadata"]))
        if not path.exists():
            problem = f"An exporter writes {exporter.file}; {exporter.name} wrote nothing. Tell its author."
    except AutotlError as error:
        problem = str(error)
    tell(channel, event="end", index=target["index"], problem=problem)


if __name__ == "__main__":
    main(sys.argv[1])
