"""What each way to make images square does to one frozen head: cross-validated, on folds that are the same for all.

    python benchmarks/resizes.py DATASET... [--backbone efficientnet-lite0] [--size 224] [--out benchmarks/results]

Differences are taken image by image, from stretched images; the error is that of their mean.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, machine_record, markdown_table

from autotl.data.check import check_dataset
from autotl.data.decode import RESIZES
from autotl.data.folds import make_repeated_folds
from autotl.data.store import Cache
from autotl.learn.config import read_config
from autotl.learn.ledger import Ledger
from autotl.learn.metrics import fit_temperature, scores, softmax
from autotl.learn.probe import cross_validate_linear
from autotl.learn.task import open_task

FOLDS, REPEATS, SEED = 5, 4, 0
COLUMNS = ("data", "images", "resize", "log-loss", "difference to stretch", "accuracy", "balanced accuracy")


def measure(dataset: str, network: dict[str, Any], work: Path) -> list[dict[str, Any]]:
    """One row for each way, with means over the repeats."""
    cache, path = Cache(work / "cache", 2**35), work / "manifest.csv"
    check_dataset(dataset, seed=SEED, cache=cache).manifest.write(path)
    rows, stretched = [], None
    for resize in RESIZES:
        config = {**network, "resize": resize, "pooling": "both", "taps": "all", "penalty": "best"}
        place = {"root": str(cache.root), "max_bytes": cache.max_bytes}
        task = open_task({"manifest": str(path), "cache": place, "config": config}, Ledger())
        partitions = make_repeated_folds(task.labels, task.groups, FOLDS, REPEATS, SEED)
        logits, _ = cross_validate_linear(task, read_config(config), partitions)
        answers = [softmax(each / fit_temperature(each, task.labels)) for each in logits]
        found = [scores(each, task.labels) for each in answers]
        images = np.arange(len(task.labels))
        losses = np.mean([-np.log(each[images, task.labels]) for each in answers], axis=0)
        stretched = losses if stretched is None else stretched
        change = losses - stretched
        means = {name: float(np.mean([each[name] for each in found])) for name in found[0] if name != "per_class"}
        error = float(change.std(ddof=1) / np.sqrt(len(change)))
        row = {"data": Path(dataset).name, "images": len(images), "resize": resize, **means}
        rows.append({**row, "difference": float(change.mean()), "error": error})
    return rows


def main() -> None:
    """Measure and write `resizes.json` and `resizes.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", metavar="DATASET")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    network, machine, rows = {"backbone": arguments.backbone, "image_size": arguments.size}, machine_record(), []
    for dataset in arguments.datasets:
        with tempfile.TemporaryDirectory() as work:
            rows += measure(dataset, network, Path(work))
    cells = [
        [
            row["data"], row["images"], row["resize"], f"{row['log_loss']:.4f}",
            f"{row['difference']:+.4f} ± {row['error']:.4f}", f"{row['accuracy']:.4f}",
            f"{row['balanced_accuracy']:.4f}",
        ]
        for row in rows
    ]  # fmt: skip
    how = f"{arguments.backbone} at {arguments.size} px, frozen, {REPEATS} times {FOLDS} folds"
    head = (
        f"# Ways to make images square\n\nWritten by `benchmarks/resizes.py`: {how}.\n\n{describe_machine(machine)}\n\n"
    )
    (arguments.out / "resizes.md").write_text(head + markdown_table(COLUMNS, cells) + "\n")
    record = {"machine": machine, "network": network, "rows": rows}
    (arguments.out / "resizes.json").write_text(json.dumps(record, indent=2) + "\n")
    print((arguments.out / "resizes.md").read_text())


if __name__ == "__main__":
    main()
