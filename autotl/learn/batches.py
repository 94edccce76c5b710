"""Batches of images for Keras's own training loop, read from the ImageStore as they are needed."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np


class ImageBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Images `[B, S, S, 3]`, float32, with their targets; in a new order for every epoch.

    The images stay in their memory-mapped file: memory does not grow with their number.
    """

    def __init__(
        self,
        images: np.ndarray,
        index: np.ndarray,
        targets: np.ndarray,
        batch_size: Callable[[], int],
        scale: float,
        augment: Any | None = None,
        seed: int | None = None,
    ) -> None:
        """Args:
        images: uint8 `[M, S, S, 3]`.
        index: which of them, and in which order.
        targets: of those, `[N]` class indices or `[N, C]` one-hot.
        batch_size: asked for when training begins: a hypermodel's `fit` may choose it.
        scale: what the pixels are multiplied by.
        augment: a Keras layer for training, or nothing.
        seed: shuffles, and leaves out the last images of an epoch that fill no batch; None does neither.
        """
        super().__init__()
        self._images, self._index, self._targets = images, index, targets
        self._batch_size, self._scale, self._augment = batch_size, scale, augment
        self._generator = None if seed is None else np.random.default_rng(seed)
        self._order = np.arange(len(index))
        self.on_epoch_end()

    @property
    def batch_size(self) -> int:
        return min(self._batch_size(), len(self._index))

    @property
    def position(self) -> tuple[np.ndarray, Mapping[str, Any]]:
        """The order of the images now, and the state of the generator that draws the orders to come."""
        return self._order, {} if self._generator is None else self._generator.bit_generator.state

    def go_to(self, order: np.ndarray, generator: Mapping[str, Any]) -> None:
        """Be where another object with the same arguments was."""
        self._order = order
        if self._generator is not None:
            self._generator.bit_generator.state = generator

    @property
    def variables(self) -> list[Any]:
        """The random states of the augmentation."""
        return [] if self._augment is None else list(self._augment.variables)

    def __len__(self) -> int:
        full, rest = divmod(len(self._index), self.batch_size)
        return full + (1 if rest and self._generator is None else 0)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._order[number * self.batch_size : (number + 1) * self.batch_size]
        images = self._images[self._index[rows]].astype(np.float32)
        if self._augment is not None:
            images = np.asarray(self._augment(images, training=True))
        return images * np.float32(self._scale), self._targets[rows]

    def on_epoch_end(self) -> None:
        if self._generator is not None:
            self._order = self._generator.permutation(len(self._index))
