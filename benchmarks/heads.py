"""Heads, poolings and taps side by side, on the same frozen network and the same folds.

    python benchmarks/heads.py DATASET [--backbone efficientnet-lite0] [--size 128] [--augmentation none]

Each row is the best of the few settings below (penalties, rates), by out-of-fold log-loss after calibration: every row
gets about the same number of tries, so the small optimism of choosing is shared. Writes a table in Markdown.
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.check import check_dataset
from autotl.data.store import Cache
from autotl.learn.jobs import run_job

TRAINED = {"epochs": 20, "batch_size": 32, "weight_decay": 1e-2}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "linear": [{"penalty": penalty} for penalty in (5e-5, 1e-4, 2e-4, 4e-4)],
    "mlp": [{**TRAINED, "width": 256, "dropout": 0.4, "head_rate": rate} for rate in (1e-3, 2e-3, 5e-3)],
    "cosine": [{**TRAINED, "options": {"scale": scale}, "head_rate": 5e-3} for scale in (20.0, 30.0, 45.0)],
}
ATTENTION = [{**TRAINED, "penalty": 1e-4, "head_rate": rate} for rate in (1e-4, 1e-3)]  # linear, but trained
BASELINE = ("linear", "avg", "last")
INTRODUCTION = """# Heads, poolings and taps on frozen features

Written by `benchmarks/heads.py`. Five folds, out-of-fold log-loss after calibration. The difference is to the linear
head on the average of the last stage, image by image, with its standard error. Each row is the best of three or four
settings. Seconds are those of one cross-validation on cached features, beside other work.
"""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--augmentation", default="none")
    parser.add_argument("--heads", default=",".join(SETTINGS))
    parser.add_argument("--poolings", default="avg,max,both,gem,attention")
    parser.add_argument("--taps", default="last,last2,all")
    parser.add_argument("--append", action="store_true", help="add the table to the file instead of replacing it")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "heads.md")
    arguments = parser.parse_args()
    before = arguments.out.read_text() if arguments.append else INTRODUCTION
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in _measure_all(arguments, Path(folder)):
            rows.append(row)
            _write(arguments, before, rows)


def _measure_all(arguments: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    cache = Cache(folder / "cache", 10**10)
    sizes = (arguments.size,)
    manifest = check_dataset(arguments.dataset, seed=0, image_sizes=sizes, cache=cache).manifest
    manifest.write(folder / "manifest.csv")
    job = {
        "kind": "trial", "evaluation": "cross_validation", "seed": 1, "fold_seed": 0, "metric": "log_loss",
        "manifest": str(folder / "manifest.csv"), "cache": {"root": str(cache.root), "max_bytes": cache.max_bytes},
    }  # fmt: skip
    network = {"backbone": arguments.backbone, "image_size": arguments.size, "augmentation": arguments.augmentation}
    kinds = [arguments.heads.split(","), arguments.poolings.split(","), arguments.taps.split(",")]
    for number, (head, pooling, taps) in enumerate(product(*kinds)):
        if pooling == "attention" and taps != "last":
            continue
        settings = ATTENTION if (head, pooling) == ("linear", "attention") else SETTINGS[head]
        tried = []
        for index, setting in enumerate(settings):
            config = {**network, "head": head, "pooling": pooling, "taps": taps, **setting}
            tried.append(_measure(job, config, folder / f"{number}-{index}"))
        best = min(tried, key=lambda result: result["log_loss"])
        print(head, pooling, taps, {name: best[name] for name in ("log_loss", "accuracy", "seconds")}, flush=True)
        quickest = min(result["seconds"] for result in tried)  # the first one may have computed the features
        yield {**best, "kind": (head, pooling, taps), "seconds": quickest}


def _measure(job: dict[str, Any], config: dict[str, Any], folder: Path) -> dict[str, Any]:
    result = run_job({**job, "config": config, "folder": str(folder)}, lambda step, value, extra: False)
    with np.load(folder / "validation.npz", allow_pickle=False) as file:
        losses = -np.log(np.maximum(file["probabilities"][np.arange(len(file["labels"])), file["labels"]], 1e-12))
    return {
        "log_loss": result["scores"]["log_loss"],
        "accuracy": result["scores"]["accuracy"],
        "seconds": result["seconds"],
        "setting": {name: value for name, value in config.items() if name in ("penalty", "head_rate", "options")},
        "losses": losses,
    }


def _write(arguments: argparse.Namespace, before: str, rows: list[dict[str, Any]]) -> None:
    baseline = next((row["losses"] for row in rows if row["kind"] == BASELINE), rows[0]["losses"])
    lines = [
        f"## {arguments.backbone} at {arguments.size} px, augmentation {arguments.augmentation}",
        "",
        f"`{Path(arguments.dataset).name}`, {len(baseline)} images, on {os.cpu_count()} cores ({platform.machine()}).",
        "",
        "| head | pooling | taps | log-loss | difference | accuracy | seconds | setting |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        difference = row["losses"] - baseline
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        told = f"{difference.mean():+.3f} ± {error:.3f}"
        lines.append(
            f"| {' | '.join(row['kind'])} | {row['log_loss']:.3f} | {told} | {row['accuracy']:.3f} "
            f"| {row['seconds']:.1f} | `{json.dumps(row['setting'])}` |"
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join([before, *lines]) + "\n")


if __name__ == "__main__":
    main()
