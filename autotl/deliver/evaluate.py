"""Scores of a model on labelled images: one path for the final test of a search and for `autotl evaluate`.

Both score the same rows in the same order in the same batches, so on the same data they agree to the last digit.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.data.arrays import release_pages
from autotl.data.check import check_dataset
from autotl.data.images import open_images
from autotl.data.manifest import Manifest
from autotl.data.store import Cache, default_cache
from autotl.deliver.artefact import Artefact, load_model, open_artefact
from autotl.deliver.predict import BATCH_SIZE, predict_batches
from autotl.errors import DataError, UsageError
from autotl.learn import metrics

SPLITS = {"train": ("train",), "val": ("val",), "test": ("test",), "all": ("train", "val", "test")}


def evaluate_model(
    model_dir: Path | str,
    dataset: str,
    split: str = "test",
    seed: int | None = None,
    cache: Cache | None = None,
) -> dict[str, Any]:
    """Scores a delivered model on one split of a data set.

    The data set goes through the same check as in a search, with the seed recorded in the model folder, so the data of
    the search fall into the very same splits; a model is then tested on what it was tested on, to the last digit.

    Args:
        model_dir: a model folder or a run directory.
        dataset: whatever `autotl search` accepts. It may have fewer classes than the model, not others.
        split: train, val, test, or all.
        seed: of the split; by default that of the search.

    Returns:
        What `score_report` gives, and: model, dataset, split, `same_data` (is it the data of the search, split as
        there) and `reproduced` (are the scores those recorded; None when there is nothing to compare with).

    Raises:
        UsageError: an unknown split.
        DataError: the data set is unusable, or has classes that the model does not know.
    """
    if split not in SPLITS:
        raise UsageError(f"A split is one of {', '.join(SPLITS)}; given was {split!r}.")
    artefact = open_artefact(model_dir)
    store = default_cache() if cache is None else cache
    chosen_seed = artefact.data.get("seed", 0) if seed is None else seed
    manifest = check_dataset(dataset, seed=chosen_seed, image_sizes=(artefact.image_size,), cache=store).manifest
    classes = class_indices(manifest.classes, artefact.class_names)
    rows = manifest.rows(*SPLITS[split])
    if not len(rows):
        raise DataError(f"The split {split!r} of {dataset} holds no images. Choose another one, or `all`.")
    probabilities, labels = score_samples(load_model(artefact), manifest, rows, artefact.image_size, store)
    report = score_report(probabilities, classes[labels], artefact.class_names)
    same = _same_data(artefact, manifest)
    return {
        "model": str(artefact.folder),
        "dataset": dataset,
        "split": split,
        **report,
        "same_data": same,
        "reproduced": _reproduced(report, artefact) if same and split == "test" else None,
    }


def score_samples(
    model: Any, manifest: Manifest, rows: NDArray[np.int64], image_size: int, cache: Cache
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Runs a model over rows of a manifest.

    Returns:
        Probabilities float32 `[n, C]` and labels int64 `[n]` (indices into `manifest.classes`), in the order of `rows`.
    """
    images = open_images(manifest, image_size, cache)

    def read(start: int) -> NDArray[np.uint8]:
        batch: NDArray[np.uint8] = images[rows[start : start + BATCH_SIZE]]
        release_pages(images)
        return batch

    batches = map(read, range(0, len(rows), BATCH_SIZE))
    return np.concatenate(list(predict_batches(model, batches))), manifest.labels()[rows]


def score_report(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], class_names: Sequence[str]
) -> dict[str, Any]:
    """All that is said about a model's test, as JSON.

    Returns:
        n, accuracy, balanced_accuracy, macro_f1, log_loss, accuracy_ci95, balanced_accuracy_ci95 (bootstrap of 10 000
        draws), expected_calibration_error, per_class [{name, precision, recall, f1, support}], confusion `[C][C]`
        (rows are true classes), confusions [{true, predicted, count, share}] (the ten most frequent mistakes).
    """
    matrix = metrics.confusion(probabilities, labels)
    columns = metrics.per_class(probabilities, labels)
    return {
        **metrics.scores(probabilities, labels),
        "accuracy_ci95": metrics.bootstrap_interval(probabilities, labels, "accuracy"),
        "balanced_accuracy_ci95": metrics.bootstrap_interval(probabilities, labels, "balanced_accuracy"),
        "expected_calibration_error": metrics.expected_calibration_error(probabilities, labels),
        "per_class": [
            {"name": name, **{key: column[index].item() for key, column in columns.items()}}
            for index, name in enumerate(class_names)
        ],
        "confusion": matrix.tolist(),
        "confusions": _confusions(matrix, class_names),
    }


def class_indices(classes: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Where each class of a data set stands among those of a model.

    Raises:
        DataError: the model does not know one of them.
    """
    unknown = [name for name in classes if name not in known]
    if unknown:
        raise DataError(
            f"A data set may only have classes that the model knows; it does not know {_listed(unknown)}. "
            f"It knows {_listed(known)}. Rename the folders or labels, or leave those classes out."
        )
    return np.asarray([known.index(name) for name in classes], dtype=np.int64)


def _same_data(artefact: Artefact, manifest: Manifest) -> bool:
    recorded = (artefact.data.get("fingerprint"), artefact.data.get("split_fingerprint"))
    return recorded == (manifest.fingerprint, manifest.split_fingerprint)


def _reproduced(report: dict[str, Any], artefact: Artefact) -> bool:
    recorded = artefact.description.get("test")
    compared = ("n", "accuracy", "balanced_accuracy", "log_loss")
    return isinstance(recorded, dict) and all(report[key] == recorded.get(key) for key in compared)


def _confusions(matrix: NDArray[np.int64], class_names: Sequence[str], limit: int = 10) -> list[dict[str, Any]]:
    mistakes = matrix.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:limit]
    cells = [divmod(int(cell), len(class_names)) for cell in order]
    return [
        {
            "true": class_names[true],
            "predicted": class_names[predicted],
            "count": int(mistakes[true, predicted]),
            "share": float(mistakes[true, predicted] / matrix[true].sum()),
        }
        for true, predicted in cells
        if mistakes[true, predicted]
    ]


def _listed(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
