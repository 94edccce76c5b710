"""Predictions of a delivered or exported model, in constant memory, through the same decoding as training."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.data.decode import load_square
from autotl.deliver.artefact import Artefact, open_artefact
from autotl.deliver.inputs import Listing, check_inputs, read_batches
from autotl.deliver.ood import open_ood
from autotl.deliver.predictor import open_predictor
from autotl.errors import UsageError

UNKNOWN = "unknown"
Answerer = Callable[[NDArray[np.uint8]], Sequence[tuple[NDArray[np.float32], dict[str, Any]]]]
"""From images to the probabilities of each, and what else there is to say of it."""


def predict_paths(
    model_dir: Path | str,
    paths: Iterable[Path | str | Listing],
    top_k: int = 1,
    threshold: float | None = None,
    on_skip: Callable[[str, str], None] | None = None,
    trust: bool = False,
    ood: bool = False,
) -> Iterator[dict[str, Any]]:
    """Predicts files, folders (recursively, sorted) and zips, one after the other.

    Args:
        model_dir: a model folder of any format, or a run directory.
        paths: what to predict; a binary stream stands for the list of paths that comes out of it.
        top_k: how many classes to name for each image.
        threshold: an image whose best probability is below it gets the label "unknown".
        on_skip: called with (path, reason) for each file that is no readable image, and each path of a list that is
            not there; in turn with the predictions.
        trust: accept a model that has another hash than `autotl.json` records.
        ood: say how unlike the training images each image is.

    Yields:
        `{"path", "label", "probability", "top": [{"label", "probability"}, ...]}`, most probable first. With a
        threshold also `"known"`: it tells a class that is called "unknown" from an image that is none of the classes,
        for which `probability` and `top` are what they are without a threshold. With `ood` also `"ood": {"score",
        "percentile"}`: the distance from the training images, and the share of unseen images of the search that are
        nearer, in percent.

    Raises:
        UsageError: a path does not exist, `top_k` is below 1, or `threshold` is not in 0..1. Raised by the call,
            before anything is loaded.
        AutotlError: the model folder is damaged, or what its format needs is not installed. Raised by the call.
    """
    inputs = [Path(item) if isinstance(item, str) else item for item in paths]
    check_inputs(inputs)
    if top_k < 1:
        raise UsageError(f"At least one class is named for each image; top_k is {top_k}. Give 1 or more.")
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise UsageError(f"A threshold is a probability; given was {threshold}. Give a number from 0 to 1.")
    artefact = open_artefact(model_dir, trust=trust)
    predict = _open_plain(artefact) if not ood else _open_with_scores(artefact)

    def predictions() -> Iterator[dict[str, Any]]:
        decode = partial(load_square, image_size=artefact.image_size, resize=artefact.resize)
        for batch in read_batches(inputs, decode):
            images = [content for _, content in batch if not isinstance(content, str)]
            answers = iter(predict(np.stack(images)) if images else ())
            for name, content in batch:
                if not isinstance(content, str):
                    row, more = next(answers)
                    yield {"path": name, **_named(row, artefact.class_names, top_k, threshold), **more}
                elif on_skip is not None:
                    on_skip(name, content)

    return predictions()


def _open_plain(artefact: Artefact) -> Answerer:
    predict = open_predictor(artefact)
    return lambda images: [(row, {}) for row in predict(images)]


def _open_with_scores(artefact: Artefact) -> Answerer:
    predict = open_ood(artefact)

    def answer(images: NDArray[np.uint8]) -> list[tuple[NDArray[np.float32], dict[str, Any]]]:
        rows, (distances, percentiles) = predict(images)
        scores = zip(distances.tolist(), percentiles.tolist(), strict=True)
        found = [{"ood": {"score": score, "percentile": percentile}} for score, percentile in scores]
        return list(zip(rows, found, strict=True))

    return answer


def _named(row: NDArray[np.float32], class_names: Sequence[str], top_k: int, threshold: float | None) -> dict[str, Any]:
    order = np.argsort(-row, kind="stable")[:top_k]
    top = [{"label": class_names[index], "probability": float(row[index])} for index in order]
    best: dict[str, Any] = dict(top[0])
    if threshold is not None:
        best["known"] = best["probability"] >= threshold
        best["label"] = best["label"] if best["known"] else UNKNOWN
    return {**best, "top": top}
