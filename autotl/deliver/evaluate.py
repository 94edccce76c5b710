"""Scores of a model on labelled images: one path for the final test of a search and for `autotl evaluate`.

Both score the same rows in the same order in the same batches, so on the same data they agree to the last digit.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.data.arrays import release_pages
from autotl.data.check import check_dataset
from autotl.data.images import open_images
from autotl.data.manifest import Manifest
from autotl.data.store import Cache, default_cache
from autotl.deliver.artefact import KERAS, Artefact, open_artefact
from autotl.deliver.origin import fitted_images
from autotl.deliver.predictor import BATCH_SIZE, Predictor, open_predictor
from autotl.errors import DataError, UsageError
from autotl.learn import metrics
from autotl.learn.calibration import calibration_report

SPLITS = {"train": ("train",), "val": ("val",), "test": ("test",), "all": ("train", "val", "test")}
_COMPARED = ("accuracy", "balanced_accuracy", "log_loss")
OnProgress = Callable[[int, int], None]


def evaluate_model(
    model_dir: Path | str,
    dataset: str,
    split: str = "test",
    seed: int | None = None,
    cache: Cache | None = None,
    trust: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Scores a delivered or exported model on one split of a data set.

    The data set goes through the same check as in a search, with the seed recorded in the model folder, so the data of
    the search fall into the very same splits; a model is then tested on what it was tested on, to the last digit.

    Args:
        model_dir: a model folder of any format, or a run directory.
        dataset: whatever `autotl search` accepts. It may have fewer classes than the model, not others.
        split: train, val, test, or all.
        seed: of the split; by default that of the search.
        trust: accept a model that has another hash than `autotl.json` records.
        on_progress: called with (images done, images in all), while they are read and while they are scored.

    Returns:
        What `score_report` gives, and: model, format, precision, dataset, split, `same_data` (is it the data of the
        search, split as there), `seen` (how many of the images, byte by byte, the model was fitted to; None where its
        folder is no longer in its run, which has the hashes). On the test split of the data of the search also
        `recorded` (scores that the search noted of its Keras model), `difference` (from those) and, for the Keras
        model, `reproduced` (are they the same to the last digit). All three are None when there is nothing to compare
        with, `reproduced` also for other formats, which compute a little differently.

    Raises:
        UsageError: an unknown split.
        DataError: the data set is unusable, or has classes that the model does not know.
    """
    if split not in SPLITS:
        raise UsageError(f"A split is one of {', '.join(SPLITS)}; given was {split!r}.")
    artefact = open_artefact(model_dir, trust=trust)
    store = default_cache() if cache is None else cache
    chosen_seed = artefact.data.get("seed", 0) if seed is None else seed
    manifest = check_dataset(
        dataset,
        seed=chosen_seed,
        image_sizes=(artefact.image_size,),
        resize=artefact.resize,
        cache=store,
        on_progress=on_progress,
    ).manifest
    classes = class_indices(manifest.classes, artefact.class_names)
    rows = manifest.rows(*SPLITS[split])
    if not len(rows):
        raise DataError(f"The split {split!r} of {dataset} holds no images. Choose another one, or `all`.")
    predict = open_predictor(artefact)
    images = open_images(manifest, artefact.image_size, store, resize=artefact.resize)
    probabilities, labels = score_rows(predict, images, rows, on_progress), manifest.labels()[rows]
    report = score_report(probabilities, classes[labels], artefact.class_names, _temperature(artefact))
    same = _same_data(artefact, manifest)
    return {
        "model": str(artefact.folder),
        "format": artefact.format,
        "precision": artefact.precision,
        "dataset": dataset,
        "split": split,
        **report,
        "same_data": same,
        "seen": _seen(artefact, manifest, rows),
        **_compared(report, artefact, is_same_test=same and split == "test"),
    }


def score_rows(
    predict: Predictor, images: np.ndarray, rows: NDArray[np.int64], on_progress: OnProgress | None = None
) -> NDArray[np.float32]:
    """Runs a model over some of the images of a store: probabilities `[n, C]` in the order of `rows`."""
    parts = []
    for start in range(0, len(rows), BATCH_SIZE):
        parts.append(predict(images[rows[start : start + BATCH_SIZE]]))
        release_pages(images)
        if on_progress is not None:
            on_progress(min(start + BATCH_SIZE, len(rows)), len(rows))
    return np.concatenate(parts)


def score_report(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    temperature: float | None = None,
) -> dict[str, Any]:
    """All that is said about a model's test, as JSON.

    Args:
        temperature: that the model divides its logits by; then it is also said how it would be without.

    Returns:
        n, accuracy, balanced_accuracy, macro_f1, log_loss, accuracy_ci95, balanced_accuracy_ci95 (bootstrap of 10 000
        draws), what `autotl.learn.calibration.calibration_report` says of calibration, per_class [{name, precision,
        recall, f1, support}], confusion `[C][C]` (rows are true classes), confusions [{true, predicted, count, share}]
        (the ten most frequent mistakes).
    """
    matrix = metrics.confusion(probabilities, labels)
    columns = metrics.per_class(probabilities, labels)
    return {
        **metrics.scores(probabilities, labels),
        "accuracy_ci95": metrics.bootstrap_interval(probabilities, labels, "accuracy"),
        "balanced_accuracy_ci95": metrics.bootstrap_interval(probabilities, labels, "balanced_accuracy"),
        **calibration_report(probabilities, labels, temperature),
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


def _temperature(artefact: Artefact) -> float | None:
    recorded = artefact.description.get("temperature")
    if not isinstance(recorded, int | float) or not 0.0 < recorded < np.inf:  # the file may come from anywhere
        return None
    return float(recorded)


def _seen(artefact: Artefact, manifest: Manifest, rows: NDArray[np.int64]) -> int | None:
    fitted = fitted_images(artefact)
    return None if fitted is None else sum(manifest.samples[row].sha256 in fitted for row in rows)


def _same_data(artefact: Artefact, manifest: Manifest) -> bool:
    recorded = (artefact.data.get("fingerprint"), artefact.data.get("split_fingerprint"))
    return recorded == (manifest.fingerprint, manifest.split_fingerprint)


def _compared(report: Mapping[str, Any], artefact: Artefact, is_same_test: bool) -> dict[str, Any]:
    """How far scores are from those that the search noted when it tested its model."""
    test = artefact.description.get("test")
    if not (is_same_test and isinstance(test, dict)):
        return {"recorded": None, "difference": None, "reproduced": None}
    recorded = {name: test[name] for name in _COMPARED if isinstance(test.get(name), int | float)}
    difference = {name: report[name] - value for name, value in recorded.items()}
    is_exact = test.get("n") == report["n"] and len(recorded) == len(_COMPARED) and not any(difference.values())
    return {
        "recorded": recorded,
        "difference": difference,
        "reproduced": is_exact if (artefact.format, artefact.precision) == (KERAS, "float32") else None,
    }


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
