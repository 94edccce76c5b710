"""Which loss makes the better network of images without labels, on real images that are held out.

    python benchmarks/self_supervised.py clipart12.zip [--image-size 64] [--epochs 30] [--seed 0] [--out DIR]

Each loss trains one network from the same random weights on the training and validation images of a data set, as
`autotl pretrain --labels none` does, with the same views, steps and rates. Then a linear head is solved on the features
of the frozen network, with the labels of the same images, and scored on the test split. The same head on the network as
it was drawn (its batch statistics measured on the images) says what the training is worth. Writes
`self_supervised.json` and `.md`; what earlier calls measured of other seeds stays.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from machine import machine_record

from autotl.data.check import check_dataset
from autotl.data.store import Cache
from autotl.learn.batch_statistics import SETTLE_BATCH, settle_statistics, spread
from autotl.learn.config import read_config
from autotl.learn.jobs import run_job
from autotl.learn.ledger import Ledger
from autotl.learn.pretrain import SETTLE_END, open_examples, open_network, save_network
from autotl.learn.task import open_task
from autotl.studies.pretrain import RATES

NETWORK = "efficientnet-lite0"
UNTRAINED = "none"
METHODS = (UNTRAINED, "simsiam", "vicreg")


def main() -> None:
    """Measure and report."""
    arguments = read_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "self_supervised.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        base = prepare(arguments, Path(folder))
        for method in arguments.method or METHODS:
            row = measure(method, base, Path(folder) / method, arguments)
            print(json.dumps(row), flush=True)
            rows = [one for one in rows if key_of(one) != key_of(row)] + [row]
            path.write_text(json.dumps({"machine": machine_record(), "rows": rows}, indent=1) + "\n")
            path.with_suffix(".md").write_text(report(rows))


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", action="append", choices=METHODS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a row from others: one that is measured again replaces it."""
    return tuple(row[name] for name in ("dataset", "method", "image_size", "epochs", "batch_size", "seed"))


def prepare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What all jobs share: training and validation images are `train`, those of the test split `val`."""
    cache = Cache(folder / "cache", 10**10)
    size = arguments.image_size
    manifest = check_dataset(arguments.dataset, seed=arguments.seed, image_sizes=(size,), cache=cache).manifest
    parts = (replace(one, split="val" if one.split == "test" else "train") for one in manifest.samples)
    replace(manifest, samples=tuple(parts)).write(folder / "manifest.csv")
    return {
        "manifest": str(folder / "manifest.csv"),
        "cache": {"root": str(cache.root), "max_bytes": cache.max_bytes},
        "seed": arguments.seed,
        "metric": "accuracy",
    }


def measure(method: str, base: dict[str, Any], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """A row: what a loss came to, and what a linear head on its features knows of the test split."""
    began, rates = perf_counter(), RATES["random"]
    config = {
        "backbone": NETWORK, "weights": "random", "image_size": arguments.image_size, "recipe": "finetune",
        "freeze_depth": 0.0, "head": method, "epochs": arguments.epochs, "batch_size": arguments.batch_size,
        "head_rate": rates[0], "tail_rate": rates[1], "weight_decay": 0.05, "ema": "on",
    }  # fmt: skip
    payload = {**base, "kind": "self_supervised", "config": config, "folder": str(folder)}
    found = draw_network(payload) if method == UNTRAINED else run_job(payload, lambda *_: False)
    trained_seconds = perf_counter() - began
    task = open_task(base, Ledger())
    probe = {"backbone": f"{found['model']}?normalisation=inside", "image_size": arguments.image_size}
    probe |= {"recipe": "probe", "head": "linear", "penalty": "best"}
    parts = {"rows": task.train.tolist(), "held_out": task.validation.tolist()}
    job = {**base, **parts, "kind": "fit", "config": probe, "folder": str(folder / "probe")}
    scores = run_job(job, lambda *_: False)["scores"]
    return {
        "dataset": Path(arguments.dataset).name,
        "method": method,
        "network": NETWORK,
        **{name: getattr(arguments, name) for name in ("image_size", "epochs", "batch_size", "seed")},
        "images": [len(task.train), len(task.validation)],
        "probe_accuracy": scores["accuracy"],
        "probe_log_loss": scores["log_loss"],
        "match": found["scores"]["match"] if "scores" in found else None,
        "spread": found["scores"]["spread"] if "scores" in found else None,
        "loss": found["curve"][-1]["loss"] if "curve" in found else None,
        "seconds": round(trained_seconds, 1),
        "load": round(os.getloadavg()[0], 1),
    }


def draw_network(payload: dict[str, Any]) -> dict[str, Any]:
    """The network as it is drawn, with the batch statistics of the images."""
    folder = Path(payload["folder"])
    folder.mkdir(parents=True)
    task, config = open_task(payload, Ledger()), read_config(payload["config"])
    examples = open_examples(task, config, task.labels, len(task.classes))
    network = open_network(config, payload["seed"], task.ledger)
    settle_statistics(network, examples, spread(task.train, SETTLE_BATCH * SETTLE_END), task.ledger)
    return save_network(network, examples, task, payload)


def report(rows: list[dict[str, Any]]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "# Networks of images without labels",
        "",
        f"{NETWORK} from random weights; see `benchmarks/self_supervised.py`. Accuracy is that of a linear head on the",
        "frozen features, on the test split. `match` is the share of held-out images whose other random view is found",
        "among all. Seconds are wall time; the load of the machine (2 cores) says how much else it was doing.",
        "",
        "| data | px | epochs | batch | seed | loss | probe accuracy | log-loss | match | spread | seconds | load |",
        "|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        numbers = [row[name] for name in ("probe_accuracy", "probe_log_loss", "match", "spread")]
        shown = ["" if number is None else f"{number:.3f}" for number in numbers]
        settings = [str(row[name]) for name in ("dataset", "image_size", "epochs", "batch_size", "seed", "method")]
        lines.append("| " + " | ".join([*settings, *shown, f"{row['seconds']:.0f}", str(row["load"])]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
