"""The last job of a search, done by a worker: check the saved model, test it once, write the model folder."""

import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.decode import STRETCH
from autotl.data.images import open_images
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.deliver.artefact import CARD_FILE, LABELS_FILE, load_file, write_artefact
from autotl.deliver.description import DESCRIPTION_FILE, MODEL_FILE
from autotl.deliver.evaluate import score_report, score_rows
from autotl.deliver.ood import OOD_FILE, write_ood
from autotl.deliver.predictor import keras_predictor
from autotl.errors import DataError, Interrupted, ParityError
from autotl.learn.calibration import calibration_report
from autotl.learn.memory_cap import hold_memory_cap

PARITY_LIMIT = 1e-4
_LATENCY_IMAGES = 20
_LATENCY_WARM_UPS = 3


def run_job(payload: dict[str, Any], report: Callable[[int, float, dict[str, Any]], bool]) -> dict[str, Any]:
    """Turns a trained, saved model into the model folder of a run.

    Args:
        payload: `model`: path of the saved `model.keras`; `folder`: the model folder to write; `manifest`: path;
            `cache`: {root, max_bytes}; `description`: see `write_artefact`, without `test`; `reference`: {rows, path
            of a `.npy` with the probabilities `[n, C]` that the training process computed for them}; `predictions`:
            path for those of the test images; `outer`: paths of such files by other searches, whose images are the
            test in the place of the manifest's; `held_out`: the folder of the trial that was chosen, whose
            `validation.npz` tells how well calibrated it was out of fold, or None; `sample`: see `write_ood`.
        report: told each phase, in `extra["phase"]`; a true answer stops the job.

    Returns:
        `{"test": score_report, "parity": {...}, "latency": {...}, "ood": {...}, "files": [paths]}`.

    Raises:
        ParityError: the file does not compute what the trained model computed; it is kept as `model.keras.rejected`.
    """
    hold_memory_cap()
    model_path, folder, description = Path(payload["model"]), Path(payload["folder"]), dict(payload["description"])
    cache = Cache(Path(payload["cache"]["root"]), payload["cache"]["max_bytes"])
    manifest, resize = Manifest.read(Path(payload["manifest"])), description["configuration"].get("resize", STRETCH)
    images = open_images(manifest, int(description["image_size"]), cache, resize=resize)
    _begin(report, 0, "parity")
    model = load_file(model_path, description.get("plugins", ()))
    parity = check_parity(model, images, payload["reference"])
    if not parity["passed"]:
        rejected = _reject(model_path, folder)
        raise ParityError(
            f"A saved model must give the probabilities of the trained one within {PARITY_LIMIT:g}; the largest "
            f"difference is {parity['max_difference']} over {parity['n']} images. The file is kept as {rejected}."
        )
    _begin(report, 1, "test")
    probabilities, labels = _test(model, manifest, images, payload)
    # outer searches had models, and temperatures, of their own
    temperature = None if payload.get("outer") else description.get("temperature")
    test = score_report(probabilities, labels, description["class_names"], temperature)
    earlier = description.get("test_reads", [])
    read = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "n": test["n"], "count": len(earlier) + 1}
    _begin(report, 2, "latency")
    some = manifest.rows("val", "test")[:_LATENCY_IMAGES]
    latency = measure_latency(model, images[some])
    _begin(report, 3, "novelty")
    ood_path = model_path.with_name(OOD_FILE)
    ood = write_ood(model, manifest, images, ood_path, payload.get("sample"))
    beside = [] if ood["file"] is None else [ood_path]
    _begin(report, 4, "write")
    found = {"test": test, "parity": parity, "latency": latency, "ood": ood}
    description["validation"] = {**description["validation"], **_held_out_calibration(payload.get("held_out"))}
    write_artefact(model_path, folder, {**description, **found, "test_reads": [*earlier, read]}, beside)
    names = (MODEL_FILE, DESCRIPTION_FILE, LABELS_FILE, CARD_FILE, *(path.name for path in beside))
    return {**found, "files": [str(folder / name) for name in names]}


def _test(model: Any, manifest: Manifest, images: np.ndarray, payload: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `[n, C]` and labels `[n]` of the test split; or those that outer searches left, taken together."""
    outer = payload.get("outer", ())
    if outer:
        parts = [np.load(path, allow_pickle=False) for path in outer]
        return tuple(np.concatenate([part[name] for part in parts]) for name in ("probabilities", "labels"))  # type: ignore[return-value]
    rows = manifest.rows("test")
    if not len(rows):
        raise DataError("A model is tested on the test split, and this one is empty. Check the data set again.")
    probabilities, labels = score_rows(keras_predictor(model), images, rows), manifest.labels()[rows]
    np.savez(payload["predictions"], probabilities=probabilities, labels=labels, rows=rows)
    return probabilities, labels


def _held_out_calibration(trial: str | None) -> dict[str, Any]:
    """How well calibrated a trial was on the images that it was scored on, by its first fit of each.

    Its temperature was fitted to the same images: one number to all of them, which flatters little.
    """
    if trial is None:
        return {}
    temperature = json.loads(Path(trial, "result.json").read_text())["temperature"]
    with np.load(Path(trial, "validation.npz"), allow_pickle=False) as saved:
        first = np.unique(saved["rows"], return_index=True)[1]
        found = calibration_report(saved["probabilities"][first], saved["labels"][first], temperature)
    return {name: value for name, value in found.items() if name != "reliability"}


def check_parity(model: Any, images: np.ndarray, reference: dict[str, Any]) -> dict[str, Any]:
    """Compares a loaded model with the probabilities that the training process computed for some rows."""
    rows = np.asarray(reference["rows"], dtype=np.int64)
    expected = np.load(reference["probabilities"], allow_pickle=False).astype(np.float64)
    found = score_rows(keras_predictor(model), images, rows).astype(np.float64)
    if found.shape != expected.shape:
        raise ParityError(
            f"A saved model gives as many classes as the trained one: {found.shape}, not {expected.shape}."
        )
    differences = np.abs(found - expected)
    largest = float(differences.max()) if np.isfinite(differences).all() else None  # JSON knows no NaN
    return {
        "passed": largest is not None and largest <= PARITY_LIMIT,
        "limit": PARITY_LIMIT,
        "n": len(rows),
        "max_difference": largest,
        "mean_difference": None if largest is None else float(differences.mean()),
        "same_label": float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
    }


def measure_latency(model: Any, images: np.ndarray) -> dict[str, Any]:
    """Milliseconds from one decoded image to its probabilities, on this machine, one image at a time."""
    milliseconds = []
    for index in range(-_LATENCY_WARM_UPS, len(images)):
        image = np.ascontiguousarray(images[max(index, 0)][None])
        started = time.perf_counter()
        model.predict_on_batch(image)
        if index >= 0:
            milliseconds.append(1000.0 * (time.perf_counter() - started))
    low, high = np.percentile(milliseconds, [50, 95])
    return {"batch_size": 1, "n": len(images), "p50_milliseconds": float(low), "p95_milliseconds": float(high)}


def _begin(report: Callable[[int, float, dict[str, Any]], bool], step: int, phase: str) -> None:
    if report(step, 0.0, {"phase": phase}):
        raise Interrupted(f"The search was stopped before the phase {phase!r} of its last job. Resume it to go on.")


def _reject(model_path: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rejected = folder / f"{MODEL_FILE}.rejected"
    shutil.move(model_path, rejected)
    return rejected
