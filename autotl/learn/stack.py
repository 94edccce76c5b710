"""A small ensemble: several backbones with their heads that see one image, their log-probabilities averaged.

Members are added greedily while the out-of-fold loss falls (Caruana et al., https://doi.org/10.1145/1015330.1015432),
all with the same weight: weights fitted to few images would fit their noise.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotl.errors import TrialError
from autotl.learn.config import TrialConfig
from autotl.learn.features import as_float
from autotl.learn.finetune import FRESH, fit_finetune
from autotl.learn.heads import build_head
from autotl.learn.metrics import fit_temperature, log_loss, scores, softmax
from autotl.learn.networks import Network, borrow_network, tap_model
from autotl.learn.pooling import pool
from autotl.learn.probe import fit_head
from autotl.learn.task import Task

SMALLEST = 1e-12


def score_stack(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Score the average of trials that were held out on the same images.

    Args:
        payload: `members`, the folders of the trials, the best one first; `folder` for the stack's own
            `validation.npz`; `metric`.

    Returns:
        members (positions of those that help, the first among them), score, scores and temperature.

    Raises:
        TrialError: the members were scored on different images.
    """
    probabilities, rows, labels = _read([Path(folder) for folder in payload["members"]])
    logs = np.log(np.maximum(probabilities, SMALLEST))
    chosen = [0]
    for member in range(1, len(logs)):
        if _loss(logs[[*chosen, member]].mean(axis=0), labels) < _loss(logs[chosen].mean(axis=0), labels):
            chosen.append(member)
    logits = logs[chosen].mean(axis=0)
    temperature = fit_temperature(logits, labels)
    together = softmax(logits / temperature)
    np.savez(Path(payload["folder"]) / "validation.npz", probabilities=together, rows=rows, labels=labels)
    measured = scores(together, labels)
    return {"members": chosen, "score": measured[payload["metric"]], "scores": measured, "temperature": temperature}


def _read(folders: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = []
    for folder in folders:
        with np.load(folder / "validation.npz", allow_pickle=False) as saved:
            found.append((saved["probabilities"], saved["rows"], saved["labels"]))
    probabilities, rows, labels = zip(*found, strict=True)
    if any(not np.array_equal(rows[0], others) for others in rows[1:]):
        raise TrialError("The members of an ensemble must be scored on the same images, in the same order.")
    return np.stack(probabilities), rows[0], labels[0]


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return log_loss(softmax(logits / fit_temperature(logits, labels)), labels)


def fit_stack(
    task: Task, members: Sequence[TrialConfig], temperatures: Sequence[float], temperature: float, seed: int
) -> Any:
    """Fit every member to all rows and build the one model that is delivered.

    Args:
        members: probes or fine-tunes of different backbones, at one image size.
        temperatures: of the members, each fitted to its own held-out logits.
        temperature: of their average.

    Returns:
        A Functional model from `image`, uint8 RGB `[B, S, S, 3]`, to `probabilities`, float32 `[B, C]`.
    """
    import keras

    networks, heads = zip(*(_fit_member(task, member, seed) for member in members), strict=True)
    image = keras.Input(networks[0].model.input_shape[1:], dtype="uint8", name="image")
    floats, logs = as_float(image), []
    for number, (member, network, head) in enumerate(zip(members, networks, heads, strict=True)):
        if member.taps == "last":
            features = pool(network.model(floats, training=False), member.pooling, f"pool_member{number}")
        else:
            features = tap_model(network.model, network.cuts, member.pooling, member.taps)(floats, training=False)
        head.name = f"head_{number}"
        calibrated = keras.layers.Rescaling(1.0 / temperatures[number], name=f"temperature_{number}")(head(features))
        logs.append(keras.layers.Activation("log_softmax", name=f"log_probabilities_{number}")(calibrated))
    average = keras.layers.Average(name="average")(logs) if len(logs) > 1 else logs[0]
    calibrated = keras.layers.Rescaling(1.0 / temperature, name="temperature")(average)
    return keras.Model(image, keras.layers.Softmax(dtype="float32", name="probabilities")(calibrated), name="autotl")


def _fit_member(task: Task, member: TrialConfig, seed: int) -> tuple[Network, Any]:
    """A member's network, with its tuned weights where it was fine-tuned, and a head of its own."""
    if member.recipe == "probe":
        head = fit_head(task, member, task.everything, seed)
        return borrow_network(member.backbone, member.image_size, member.weights, task.ledger), head
    fresh = member.augmentation in FRESH
    trainable, _, network, _ = fit_finetune(task, member, task.everything, seed, fresh=fresh)
    fitted = trainable.model.get_layer("head")
    head = build_head(member, fitted.input_shape[1:], len(task.classes))  # a copy: this one gets another name
    head.set_weights(fitted.get_weights())
    return network, head
