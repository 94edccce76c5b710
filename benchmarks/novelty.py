"""Which score tells images that are unlike the training images: distances of features against the model's confidence.

    python benchmarks/novelty.py RUN [RUN ...] --others DIR [DIR ...] [--out benchmarks/results]

Each RUN is a finished search whose data set is still there; each DIR is a folder of images that belong to none of its
classes (`benchmarks/datasets.py` makes some; where there is a `DIR/test`, only that is read). Made images come on top:
noise of every pixel and smooth noise. Distances are fitted to training and validation images, as at delivery, and the
test images are what is usual. Writes `novelty.json` and `.md`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, machine_record, markdown_table
from PIL import Image

from autotl.data.images import open_images, read_images
from autotl.data.manifest import Manifest
from autotl.data.source import open_source
from autotl.data.store import default_cache
from autotl.deliver.artefact import load_model, open_artefact
from autotl.deliver.ood import FIT_IMAGES, LAYER, UNUSUAL, with_features
from autotl.deliver.predictor import keras_predictor
from autotl.learn.novelty import as_percentiles, fit_novelty, measure_distances, stratified_rows

HERE = Path(__file__).resolve().parent
BATCH, MADE, HALVES = 32, 128, 200
NEIGHBOURS = (1, 5, 10, 50)
CHOSEN = "Mahalanobis"
INTRODUCTION = """# Images that are unlike the training images

Written by `benchmarks/novelty.py`. Each cell is the area under the ROC curve of test images against other images, and
the share of other images that pass where 95 % of the test images do (FPR@95, smaller is better). `mean` is over real
images only. Neighbours: distance to the k-th nearest training image, features of unit length (Sun et al., 2022).
Mahalanobis: to the nearest class mean, one covariance of 128 directions and a remainder, features of unit length
(`autotl/learn/novelty.py`): it is what models are delivered with. `MB` is what a method has to keep.
"""
Scored = tuple[np.ndarray, np.ndarray]  # probabilities [N, C], features [N, D] of unit length


def main() -> None:
    """Measure every run, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--others", nargs="+", type=Path, default=[])
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args(sys.argv[1:])
    record = {"machine": machine_record(), "runs": [measure(run, arguments.others) for run in arguments.runs]}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "novelty.json").write_text(json.dumps(record, indent=1) + "\n")
    (arguments.out / "novelty.md").write_text(make_report(record))
    print(make_report(record))


def measure(run: Path, others: Sequence[Path]) -> dict[str, Any]:
    """All methods on one delivered model."""
    artefact = open_artefact(run)
    tapped = with_features(load_model(artefact), LAYER)
    assert tapped is not None, f"{run} has no head of autotl's"
    predict, classes, size = keras_predictor(tapped), len(artefact.class_names), artefact.image_size

    def score(batches: Iterator[np.ndarray]) -> Scored:
        found = np.concatenate([predict(batch) for batch in batches])
        return found[:, :classes], found[:, classes:]

    manifest = Manifest.read(run / "manifest.csv")
    images = open_images(manifest, size, default_cache())
    fitted, unseen = manifest.rows("train", "val"), manifest.rows("test")
    fitted = fitted[stratified_rows(manifest.labels()[fitted], FIT_IMAGES)]
    train, usual = (
        score(images[rows[start : start + BATCH]] for start in range(0, len(rows), BATCH)) for rows in (fitted, unseen)
    )
    strange = {folder.name: score(_folder(folder, size)) for folder in others}
    strange |= {"noise": score(_noise(size, size)), "smooth noise": score(_noise(size, 6))}
    methods, kept = make_methods(train, manifest.labels()[fitted], classes)
    configuration = artefact.description["configuration"]
    print(f"{run}: scored", file=sys.stderr, flush=True)
    return {
        "run": run.name,
        "data": Path(artefact.data.get("name", "")).name,
        "backbone": artefact.description["backbone"]["name"],
        "image_size": size,
        "recipe": configuration["recipe"],
        "freeze_depth": configuration.get("freeze_depth"),
        "images": {"fitted": len(fitted), "test": len(unseen), **{name: len(one[0]) for name, one in strange.items()}},
        "features": train[1].shape[1],
        "real": [folder.name for folder in others],
        "methods": [
            {
                "method": name,
                "megabytes": round(kept[name] / 1e6, 2),
                "scores": {other: _compare(method(usual), method(one)) for other, one in strange.items()},
            }
            for name, method in methods.items()
        ],
        "flagged": _flagged(methods[CHOSEN], usual, strange),
    }


def make_methods(
    train: Scored, labels: np.ndarray, classes: int
) -> tuple[dict[str, Callable[[Scored], np.ndarray]], dict[str, int]]:
    """Functions that give each image a score, larger for stranger ones, and the bytes that each has to keep."""
    novelty = fit_novelty(train[1], labels, classes)
    methods: dict[str, Callable[[Scored], np.ndarray]] = {"1 - confidence": lambda found: 1.0 - found[0].max(axis=1)}
    kept = {"1 - confidence": 0, CHOSEN: sum(array.nbytes for array in novelty)}
    for k in NEIGHBOURS:
        methods[f"{k} neighbours"] = lambda found, k=k: _kth_distance(train[1], found[1], k)
        kept[f"{k} neighbours"] = train[1].size * 2  # as float16
    methods[CHOSEN] = lambda found: measure_distances(novelty, found[1])
    return methods, kept


def _kth_distance(train: np.ndarray, features: np.ndarray, k: int) -> np.ndarray:
    squared = 2.0 - 2.0 * features @ train.T
    return np.sqrt(np.maximum(np.partition(squared, k - 1, axis=1)[:, k - 1], 0.0))


def _compare(usual: np.ndarray, strange: np.ndarray) -> dict[str, float]:
    """Area under the ROC curve (ties count half) and false positive rate at 95 % of the usual ones."""
    ordered = np.sort(usual)
    below, up_to = (np.searchsorted(ordered, strange, side=side) for side in ("left", "right"))
    passed = strange <= np.quantile(usual, 0.95)
    return {"auroc": float((below + up_to).mean() / (2 * len(usual))), "fpr95": float(passed.mean())}


def _flagged(method: Callable[[Scored], np.ndarray], usual: Scored, strange: dict[str, Scored]) -> dict[str, float]:
    """The share of images at the 95th percentile or above, taken of one half of the test images; mean of many."""
    distances, others = method(usual), {name: method(one) for name, one in strange.items()}
    half, shares = len(distances) // 2, []
    for seed in range(HALVES):
        mixed = np.random.default_rng(seed).permutation(distances)
        groups = {"the other half": mixed[half:], **others}
        shares.append([(as_percentiles(found, mixed[:half]) >= UNUSUAL).mean() for found in groups.values()])
    return dict(zip(groups, np.mean(shares, axis=0).tolist(), strict=True))


def _folder(folder: Path, size: int) -> Iterator[np.ndarray]:
    below = folder / "test" if (folder / "test").is_dir() else folder
    with open_source(below) as source:
        for _, batch in read_images(source, size, BATCH, on_skip=lambda name, error: None):
            yield batch


def _noise(size: int, side: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Random pictures of `side` pixels, blown up."""
    generator = np.random.default_rng(seed)
    for _ in range(MADE // BATCH):
        small = generator.integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
        pictures = [Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC) for one in small]
        yield np.stack([np.asarray(picture) for picture in pictures])


def make_report(record: dict[str, Any]) -> str:
    """All results as Markdown."""
    parts = [INTRODUCTION]
    for run in record["runs"]:
        names = list(run["methods"][0]["scores"])
        rows = []
        for found in run["methods"]:
            cells = [f"{found['scores'][name]['auroc']:.3f} / {found['scores'][name]['fpr95']:.2f}" for name in names]
            means = [np.mean([found["scores"][name][key] for name in run["real"]]) for key in ("auroc", "fpr95")]
            rows.append((found["method"], *cells, f"{means[0]:.3f} / {means[1]:.2f}", f"{found['megabytes']:.2f}"))
        depth = f", {run['freeze_depth']:g} frozen" if run["freeze_depth"] is not None else ""
        counts = ", ".join(f"{count} {name}" for name, count in run["images"].items())
        flagged = ", ".join(f"{100 * share:.0f} % of {name}" for name, share in run["flagged"].items())
        parts.append(
            f"## {run['data']}: {run['backbone']}, {run['image_size']} px, {run['recipe']}{depth}\n\n"
            f"{run['features']} features; images: {counts}.\n\n"
            f"{markdown_table(('method', *names, 'mean', 'MB'), rows)}\n\n"
            f"At the 95th percentile or above, taken of one half of the test images (mean of "
            f"{HALVES} draws): {flagged}.\n"
        )
    return "\n".join([*parts, describe_machine(record["machine"]), ""])


if __name__ == "__main__":
    main()
