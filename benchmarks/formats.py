"""Every format and precision of a model: how near it is to the model, how large, how fast; also of untrained networks.

    python benchmarks/formats.py RUN [--data DATASET]
    python benchmarks/formats.py mobilenet vgg16 --random [--image-size 96]
    python benchmarks/formats.py --wall [--out benchmarks/results]

A model is a run or a model folder; with --data, each of its exports is also scored on the test split of that data set.
With --random, networks are built with random weights and a linear head for the classes of `sample:clipart`: they know
nothing, so what is seen is whether a format can hold the network, and what it costs. --wall takes one small network of
each family of keras.applications. `autotl.api.export` writes and checks; each network has a process of its own, and so
has each file in it, so a network that cannot be built, one that takes too long and a converter that crashes are rows.
Writes `formats.json`, where what earlier calls measured stays unless it was measured again, and the same as tables in
`formats.md`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from formats_report import make_report, section
from machine import machine_record

from autotl import api
from autotl.backbones.registry import load_backbone
from autotl.data.decode import load_square
from autotl.data.samples import resolve_dataset
from autotl.errors import AutotlError
from autotl.exporters.registry import list_exporters, load_exporter

WALL = (
    "vgg16", "resnet50", "resnet50-v2", "densenet121", "inception-v3", "inception-resnet-v2", "xception", "mobilenet",
    "mobilenet-v2", "mobilenet-v3-small", "nasnet-mobile", "efficientnet-b0", "efficientnet-v2-b0", "convnext-tiny",
)  # fmt: skip
SAMPLE = "sample:clipart"
SENSIBLE_SIZE = 96  # pixels; below it some networks have one pixel left at their end
SPREAD = 1.0  # of the logits of untrained networks, their standard deviation
BATCH = 64
LIMIT_SECONDS = 7200
GRACE_SECONDS = 10  # in which a process that is late ends its own children


def main() -> None:
    """Measure and report."""
    arguments = read_arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # an exception, so children end too
    if arguments.one is not None:
        Path(arguments.one).write_text(json.dumps(measure(arguments.models[0], arguments)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "formats.json"
    record = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    record["machine"] = machine_record()
    for name in arguments.models:
        title = title_of(name, arguments)
        load = os.getloadavg()[0]
        row = {"load": load, **in_a_process(name, arguments)}
        record["rows"][title] = row = merged(record["rows"].get(title), row)
        path.write_text(json.dumps(record, indent=1) + "\n")
        path.with_suffix(".md").write_text(make_report(record))
        print(section(title, row), flush=True)


def read_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="runs or model folders; with --random, names of backbones")
    parser.add_argument("--random", action="store_true", help="build the named backbones with random weights")
    parser.add_argument("--wall", action="store_true", help="one small network of each family, with random weights")
    parser.add_argument("--image-size", type=int, help=f"of random networks; the nearest to {SENSIBLE_SIZE} by default")
    parser.add_argument("--data", help="a data set whose test split the exports of a model are scored on")
    parser.add_argument("--format", action="append", dest="formats", help="FORMAT:PRECISION; all of them by default")
    parser.add_argument("--limit-seconds", type=float, default=LIMIT_SECONDS, help="of one network")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # how this program calls itself: where its answer goes
    arguments = parser.parse_args(words)
    if arguments.wall:
        arguments.models, arguments.random = [*arguments.models, *WALL], True
    if not arguments.models:
        parser.error("name a run or a backbone, or give --wall")
    return arguments


def title_of(name: str, arguments: argparse.Namespace) -> str:
    """What a row is called, whether or not its network can be built."""
    with suppress(AutotlError, OSError):  # what is wrong with it, its row will say
        if arguments.random:
            return f"{name}, {random_size(name, arguments.image_size)} px, random weights"
        description = read_description(Path(name))
        return f"{description['backbone']['name']}, {description['image_size']} px, trained"
    return name


def merged(earlier: Mapping[str, Any] | None, row: dict[str, Any]) -> dict[str, Any]:
    """A row with those formats of an earlier one that were not measured this time."""
    if row["error"] is not None or earlier is None:
        return row
    exports = {format_of(entry): entry for entry in [*earlier["exports"], *row["exports"]]}
    return {**row, "exports": list(exports.values())}


def in_a_process(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What `measure` finds, or an error in the place of it."""
    with tempfile.TemporaryDirectory(prefix="formats-", ignore_cleanup_errors=True) as folder:
        answer = Path(folder) / "answer.json"
        words = [name, "--one", str(answer), *(["--random"] if arguments.random else [])]
        for option, value in (("--image-size", arguments.image_size), ("--data", arguments.data)):
            words += [] if value is None else [option, str(value)]
        words += [word for text in arguments.formats or () for word in ("--format", text)]
        with (Path(folder) / "log.txt").open("w+") as log:
            process = subprocess.Popen(
                [sys.executable, __file__, *words],
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": folder},  # what is left where it is ended goes with the folder
                start_new_session=True,
            )
            try:
                code = process.wait(arguments.limit_seconds)
            except subprocess.TimeoutExpired:
                return no_model(f"not done after {arguments.limit_seconds:g} s")
            finally:
                end(process)
            if answer.exists():
                row: dict[str, Any] = json.loads(answer.read_text())
                return row
            log.seek(0)
            lines = log.read().strip().splitlines()
        return no_model(lines[-1] if lines else f"exit code {code}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that still runs: asked to end, it ends the children of `autotl.api.export`, which have groups of
    their own."""
    if process.poll() is not None:
        return
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def no_model(error: str) -> dict[str, Any]:
    """The row of a network that nothing was measured of; it has what others have."""
    return {"error": error[:500], "parameters": None, "exports": []}


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Writes and checks all formats of one model.

    Returns:
        `error` (None), `parameters` and `exports`, as `autotl.api.export` has them, each with its `test` score.
    """
    with tempfile.TemporaryDirectory(prefix="formats-") as folder:
        model = random_model(name, arguments.image_size, Path(folder)) if arguments.random else Path(name)
        dataset = SAMPLE if arguments.random else arguments.data
        formats = all_formats() if arguments.formats is None else arguments.formats
        exports = api.export(model, formats, dataset=dataset, out=Path(folder) / "exports")["exports"]
        for entry in exports:
            scored = not arguments.random and arguments.data is not None and entry["state"] == "ok"
            entry["test"] = api.evaluate(entry["folder"], arguments.data)["accuracy"] if scored else None
            entry["folder"] = entry["file"] = None  # gone when this is read
        return {"error": None, "parameters": read_description(model).get("parameters"), "exports": exports}


def read_description(model: Path) -> dict[str, Any]:
    """What is written of the model of a run, or of a model folder."""
    beside = model if (model / "autotl.json").exists() else model / "model"
    description: dict[str, Any] = json.loads((beside / "autotl.json").read_text(encoding="utf-8"))
    return description


def all_formats() -> list[str]:
    """Every format and precision that is registered."""
    exporters = [load_exporter(listing.name) for listing in list_exporters() if listing.problem is None]
    return [f"{exporter.name}:{precision}" for exporter in exporters for precision in exporter.precisions]


def format_of(entry: Mapping[str, Any]) -> str:
    """The format and precision of an export, as `--format` takes them."""
    return f"{entry['format']}:{entry['precision']}"


def random_size(name: str, image_size: int | None) -> int:
    """Side of the images of an untrained network, in pixels."""
    backbone = load_backbone(name)
    return backbone.nearest_size(max(backbone.min_image_size, SENSIBLE_SIZE) if image_size is None else image_size)


def random_model(name: str, image_size: int | None, folder: Path) -> Path:
    """A model folder like a delivered one around a network that has learnt nothing."""
    from autotl.deliver.artefact import write_artefact
    from autotl.learn.candidate import build_candidate
    from autotl.learn.config import TrialConfig
    from autotl.learn.ledger import Ledger

    size = random_size(name, image_size)
    classes = list(api.check_data(SAMPLE)["classes"])
    config = TrialConfig(backbone=name, image_size=size, weights="random")
    model = build_candidate(config, len(classes), Ledger()).model
    settle(model)
    model.save(folder / "model.keras")
    weights = {"source": "drawn at random", "sha256": None, "licence": "none", "dataset": "none"}
    unknown = {"n": 0, "accuracy": None}
    description = {
        "class_names": classes,
        "image_size": size,
        "backbone": {"name": name, "weights": weights},
        "configuration": config.to_json(),
        "parameters": int(model.count_params()),
        "data": {"name": SAMPLE, "fingerprint": "none", "split_fingerprint": "none", "seed": 0},
        "validation": unknown,
        "test": unknown,
    }
    write_artefact(folder / "model.keras", folder / "model", description)
    return folder / "model"


def settle(model: Any) -> None:
    """Makes an untrained network behave like a trained one: activations of about one, logits that differ by image.

    Normalisation gets the statistics of real images, without which activations die away or grow from layer to layer,
    and the head, which begins with zeros, weights that spread its logits over the classes.
    """
    import keras

    pixels = sample_images(model.input_shape[1])
    backbone = max(
        (layer for layer in model.layers if isinstance(layer, keras.Model)), key=lambda one: one.count_params()
    )
    for layer in backbone._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable, layer.momentum = True, 0.0
    backbone(pixels.astype(np.float32), training=True)
    head = model.get_layer("head")
    found = keras.Model(model.input, model.layers[-4].output).predict(pixels, verbose=0)
    _, _, kernel, bias = head.get_weights()  # the first two standardise the features
    spread = SPREAD * np.random.default_rng(0).normal(size=kernel.shape)
    variance = found.var(axis=0)
    head.set_weights([found.mean(axis=0), np.maximum(variance, variance.mean() / 100), spread, bias])  # some are dead


def sample_images(side: int) -> np.ndarray:
    """Images of all classes of the sample, uint8 `[BATCH, side, side, 3]`."""
    with zipfile.ZipFile(resolve_dataset(SAMPLE)) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith((".png", ".jpg")))
        chosen = names[:: len(names) // BATCH][:BATCH]
        return np.stack([load_square(archive.read(name), side) for name in chosen])


if __name__ == "__main__":
    main()
