"""What a model costs to use: milliseconds for one image and bytes of its file, in Keras or as it is deployed."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.images import read_images
from autotl.data.manifest import Manifest
from autotl.data.source import open_source
from autotl.deliver.artefact import load_file
from autotl.deliver.description import MODEL_FILE
from autotl.deliver.finish import measure_latency
from autotl.errors import AutotlError
from autotl.exporters.contract import INT8, Export, Exporter
from autotl.exporters.float32 import as_float32
from autotl.exporters.registry import parse_format
from autotl.learn.candidate import build_candidate
from autotl.learn.config import read_config
from autotl.learn.ledger import Ledger
from autotl.learn.memory_cap import hold_memory_cap

IMAGES = 20
CALIBRATION_IMAGES = 64  # they decide what an int8 model computes, and nothing of what it costs
RUN_SECONDS = 300.0
_TIMING = """

import json, sys, time
predict, images = load(Path(sys.argv[1])), np.load(sys.argv[2])
milliseconds = []
for index in range(-5, len(images)):
    image = images[max(index, 0)][None]
    started = time.perf_counter()
    predict(image)
    if index >= 0:
        milliseconds.append(1000.0 * (time.perf_counter() - started))
low, high = np.percentile(milliseconds, [50, 95])
print("\\n" + json.dumps({"p50_milliseconds": float(low), "p95_milliseconds": float(high)}))
"""


def run_job(payload: Mapping[str, Any], report: Callable[[int, float, dict[str, Any]], bool]) -> dict[str, Any]:
    """Measures a network before it is trained, or a saved model.

    Args:
        payload: `folder` for files on the way; `deploy`, "FORMAT:PRECISION", or None for Keras; `manifest`, of images
            for calibration. Of a network `config` and `classes`, of a saved model its
            path `model` and the `plugins` whose layers it may hold.

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
        if payload.get("deploy") is None:
            found = _measure_saved(model, images, Path(scratch))
        else:
            found = _measure_deployed(model, images, Path(scratch), payload)
    return {**found, "parameters": int(model.count_params()), "channels": channels, "ledger": ledger.to_json()}


def _measure_saved(model: Any, images: np.ndarray, folder: Path) -> dict[str, Any]:
    model.save(folder / MODEL_FILE)
    latency = measure_latency(model, images)
    return {"bytes": _bytes_below(folder), **{name: latency[name] for name in ("p50_milliseconds", "p95_milliseconds")}}


def _measure_deployed(model: Any, images: np.ndarray, folder: Path, payload: Mapping[str, Any]) -> dict[str, Any]:
    exporter, precision = parse_format(payload["deploy"])
    artefact = folder / "artefact"
    artefact.mkdir()
    calibration = _calibration(payload, model.input_shape[1]) if precision == INT8 else None
    exporter.write(Export(as_float32(model), artefact / exporter.file, precision, calibration))
    np.save(folder / "images.npy", images)
    return {"bytes": _bytes_below(artefact), **time_artefact(exporter, artefact, folder / "images.npy")}


def time_artefact(exporter: Exporter, artefact: Path, images: Path) -> dict[str, float]:
    """Milliseconds of an exported model, in a process of its own that has nothing but its runtime.

    Args:
        exporter: says which runtime.
        artefact: folder of the model.
        images: a `.npy` of uint8 `[n, S, S, 3]`, given one by one.

    Raises:
        AutotlError: the runtime fails.
    """
    spec = find_spec(exporter.runtime)
    assert spec is not None and spec.origin is not None
    program = Path(spec.origin).read_text(encoding="utf-8") + _TIMING
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSTARTUP")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(artefact), str(images)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RUN_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AutotlError(
            f"{exporter.name} took more than {RUN_SECONDS:.0f} s for {IMAGES} images. Deploy in another format."
        ) from None
    sys.stderr.write(done.stderr)  # the job's log
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it said nothing")
        raise AutotlError(
            f"{exporter.name} cannot run what was exported (exit status {done.returncode}): {last[:300]}. Deploy in "
            "another format or precision."
        )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _calibration(payload: Mapping[str, Any], image_size: int) -> np.ndarray:
    """Training images spread over the data set, uint8 `[n, S, S, 3]`."""
    manifest = Manifest.read(Path(payload["manifest"]))
    rows = manifest.rows("train")
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(CALIBRATION_IMAGES, len(rows))).round().astype(int))]
    with open_source(Path(manifest.root)) as source:
        batches = read_images(source, image_size, names=[manifest.samples[row].path for row in chosen])
        return np.concatenate([batch for _, batch in batches])


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
