"""What a worker fits models to: the manifest's training and validation rows, and the stores that serve them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.decode import STRETCH
from autotl.data.folds import draw_sample
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.errors import TrialError
from autotl.learn.features import Sources
from autotl.learn.ledger import Ledger


@dataclass(frozen=True)
class Task:
    """Labelled rows without the test split. Positions 0..N-1 count these rows, in manifest order, as the stores do.

    They may be a sample of them: `places` says where each stands among all rows of training and validation.
    """

    sources: Sources
    labels: np.ndarray  # [N] class indices
    groups: np.ndarray  # [N] duplicate groups
    train: np.ndarray  # positions of the training split
    validation: np.ndarray  # positions of the validation split
    classes: tuple[str, ...]
    places: np.ndarray  # [N]

    @property
    def ledger(self) -> Ledger:
        return self.sources.ledger

    @property
    def everything(self) -> np.ndarray:
        return np.arange(len(self.labels))


def open_task(payload: Mapping[str, Any], ledger: Ledger) -> Task:
    """Open the manifest and the cache that a job names; decodes and computes nothing.

    Args:
        payload: `manifest` and `cache {root, max_bytes}`; `shares_stores`, see `Sources.shares`; with `images`, a
            sample of about so many images is drawn by `fold_seed`, of every class and split its share;
            `micro_batch`, see `Sources.micro_batch`; `config`, whose `resize` says how images are made square.

    Raises:
        TrialError: the micro batch is no number of images.
    """
    micro_batch = payload.get("micro_batch")
    if micro_batch is not None and (not isinstance(micro_batch, int) or micro_batch < 1):
        raise TrialError(f"micro_batch is how many images go through a network at a time, not {micro_batch!r}.")
    manifest = Manifest.read(Path(payload["manifest"]))
    cache = Cache(Path(payload["cache"]["root"]), int(payload["cache"]["max_bytes"]))
    every = manifest.rows("train", "val")
    places = np.arange(len(every))
    if (images := payload.get("images")) is not None:
        chosen = [manifest.samples[row] for row in every]
        labels = np.array([2 * sample.label + (sample.split == "val") for sample in chosen])  # both splits are needed
        places = draw_sample(labels, np.array([sample.group for sample in chosen]), images, payload["fold_seed"])
    rows = every[places]
    samples = [manifest.samples[row] for row in rows]
    splits = np.array([sample.split for sample in samples])
    return Task(
        sources=Sources(
            manifest,
            tuple(int(row) for row in rows),
            cache,
            ledger,
            shares=payload.get("shares_stores", False),
            micro_batch=micro_batch,
            resize=payload.get("config", {}).get("resize", STRETCH),
        ),
        labels=np.array([sample.label for sample in samples]),
        groups=np.array([sample.group for sample in samples]),
        train=np.flatnonzero(splits == "train"),
        validation=np.flatnonzero(splits == "val"),
        classes=manifest.classes,
        places=places,
    )
