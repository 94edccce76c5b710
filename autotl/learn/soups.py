"""Soups: the average of the weights of several fine-tunes of one architecture, which costs one model to run.

They begin at one head and one network and differ in rates, regularisation and order, so they mostly end in one basin,
and their average is often better than each (Wortsman et al., https://arxiv.org/abs/2203.05482).
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.folds import make_repeated_folds
from autotl.learn.averaging import Weights, greedy_soup, set_trainable_weights, trainable_weights
from autotl.learn.config import TrialConfig
from autotl.learn.finetune import fit_finetune, open_tail
from autotl.learn.metrics import fit_temperature, log_loss, scores, softmax
from autotl.learn.task import Task
from autotl.learn.training import predict_logits

FILE = "weights-{}.npz"


def keep_weights(folder: Path, fold: int, trainable: Any) -> None:
    """Keep what a fit has trained beside the trial's log, durably: a checkpoint that is written later builds on it."""
    with (folder / FILE.format(fold)).open("wb") as file:
        np.savez(file, *trainable_weights(trainable))
        file.flush()
        os.fsync(file.fileno())


def take_weights(before: Path, folder: Path, folds: int) -> None:
    """Take over the weights that an earlier attempt has kept of its first folds."""
    for fold in range(folds):
        shutil.copyfile(before / FILE.format(fold), folder / FILE.format(fold))


def held_out_folds(task: Task, payload: Mapping[str, Any]) -> list[np.ndarray]:
    """The rows that each fit of a trial is scored on: the validation split, or all folds of all repeats."""
    if payload["evaluation"] == "holdout":
        return [task.validation]
    count, repeats, seed = payload["folds"], payload["repeats"], payload["fold_seed"]
    partitions = make_repeated_folds(task.labels, task.groups, count, repeats, seed)
    return [fold for partition in partitions for fold in partition]


def score_soup(task: Task, config: TrialConfig, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Average fits of one architecture, one after the other, while the held-out loss of their average falls.

    Args:
        payload: `members`, the folders of trials that kept their weights, the best one first, all scored on the same
            folds; `evaluation`, `folds`, `repeats`, `fold_seed` as they had; `folder` for the soup's own
            `validation.npz`; `metric`.

    Returns:
        members (positions of those in the soup), score, scores and temperature.
    """
    folds = held_out_folds(task, payload)
    candidates = [_read(Path(folder), len(folds)) for folder in payload["members"]]
    rows = np.concatenate(folds)
    labels = task.labels[rows]

    def logits_of(weights: Weights) -> np.ndarray:
        """Held-out logits; `weights` are those of all folds, one fold after the other."""
        each = len(weights) // len(folds)
        parts = []
        for number, held_out in enumerate(folds):
            fitted = np.setdiff1d(task.everything, held_out) if len(folds) > 1 else task.train
            trainable, examples, _, _ = open_tail(task, config, fitted, payload["seed"])
            set_trainable_weights(trainable, weights[number * each : (number + 1) * each])
            parts.append(predict_logits(trainable, examples, held_out, task.ledger))
        return np.concatenate(parts)

    def loss(weights: Weights) -> float:
        logits = logits_of(weights)
        return log_loss(softmax(logits / fit_temperature(logits, labels)), labels)

    soup, members = greedy_soup(candidates, loss)
    logits = logits_of(soup)
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits / temperature)
    np.savez(
        Path(payload["folder"]) / "validation.npz", probabilities=probabilities, rows=task.places[rows], labels=labels
    )
    measured = scores(probabilities, labels)
    return {"members": members, "score": measured[payload["metric"]], "scores": measured, "temperature": temperature}


def _read(folder: Path, folds: int) -> Weights:
    weights: Weights = []
    for fold in range(folds):
        with np.load(folder / FILE.format(fold), allow_pickle=False) as saved:
            weights += [saved[name] for name in saved.files]
    return weights


def fit_soup(
    task: Task, configs: Sequence[TrialConfig], seed: int, fresh: Sequence[bool], should_stop: Any = None
) -> tuple[Any, Any]:
    """Fit every member to all rows and average their weights.

    Returns:
        The head, and the network whose tail has the averaged weights.
    """
    fits: list[Weights] = []
    for number, (config, is_fresh) in enumerate(zip(configs, fresh, strict=True)):
        trainable, _, network, _ = fit_finetune(
            task, config, task.everything, seed + number, should_stop=should_stop, fresh=is_fresh
        )
        fits.append(trainable_weights(trainable))
    mean = [np.mean(parts, axis=0) for parts in zip(*fits, strict=True)]
    set_trainable_weights(trainable, mean)
    return trainable.model.get_layer("head"), network
