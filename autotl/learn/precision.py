"""Mixed precision, where the device computes faster in half of it: weights stay float32, layers compute in 16 bits.

The policy is set on the layers of one network for as long as it trains, and nowhere else: Keras's global policy would
outlive the job in its worker. What is saved is the same network in float32 again. Heads, losses and whatever else
stands on the network keep computing in float32, batch normalisation takes its statistics in it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from autotl.errors import TrialError

FLOAT32, MIXED_FLOAT16, MIXED_BFLOAT16 = PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
TENSOR_CORES, HAVE_BFLOAT16 = (7, 0), (8, 0)  # NVIDIA's compute capability from which on units for it are there
LOSS_SCALE = 2.0**15
GROWTH = 1 / 2000
"""Of the loss scale's exponent in a step: it doubles in so many steps as Keras's LossScaleOptimizer takes."""


def precision_of(payload: Mapping[str, Any]) -> str:
    """The precision that a job asks for in `precision`, else the one that this process's device is made for.

    Raises:
        TrialError: there is no such precision.
    """
    precision = payload.get("precision")
    if precision is None:
        return precision_for(_compute_capability())
    if precision not in PRECISIONS:
        raise TrialError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}.")
    return str(precision)


def precision_for(capability: tuple[int, int] | None) -> str:
    """The precision to train in on a GPU of this compute capability; None is any other device.

    Of the two halves bfloat16 needs no scaling of the loss. On a CPU it was 1.5 times slower than float32.
    """
    if capability is None or capability < TENSOR_CORES:
        return FLOAT32
    return MIXED_BFLOAT16 if capability >= HAVE_BFLOAT16 else MIXED_FLOAT16


def _compute_capability() -> tuple[int, int] | None:
    """Of the first GPU that Keras's backend sees; None where that is none of NVIDIA's."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        from tensorflow import config

        gpus = config.list_physical_devices("GPU")
        found = config.experimental.get_device_details(gpus[0]).get("compute_capability") if gpus else None
        return None if found is None else (int(found[0]), int(found[1]))
    if backend == "torch":
        import torch

        return torch.cuda.get_device_capability() if torch.cuda.is_available() and torch.version.cuda else None
    if backend == "jax":
        import jax

        try:
            major, minor = str(jax.devices()[0].compute_capability).split(".")
            return int(major), int(minor)
        except (AttributeError, ValueError):  # a CPU, a TPU, a GPU of another maker
            return None
    return None


@contextmanager
def computing_in(precision: str, network: Any) -> Iterator[None]:
    """Within it the layers of a network compute in a precision; functions that are traced there go on to do so."""
    import keras

    layers = []
    if precision != FLOAT32:
        every = network._flatten_layers(include_self=False)
        layers = [one for one in every if not isinstance(one, keras.Model) and one.dtype_policy.name == FLOAT32]
    try:
        for layer in layers:
            layer.dtype_policy = precision
        yield
    finally:
        for layer in layers:
            layer.dtype_policy = FLOAT32


def loss_scaling(optimizer: type) -> Any:
    """A class of optimizer that scales the loss, so that small gradients are not zero in float16.

    The scale halves where a gradient is no longer finite, and that step is made with none; otherwise it grows slowly.
    Keras's LossScaleOptimizer does the same around an optimizer, whose variables are then out of sight. Its state is
    one variable, and is as in the beginning when that is zero.
    """
    from keras import ops

    class LossScaling(optimizer):  # type: ignore[misc]
        def __init__(self, **keywords: Any) -> None:
            super().__init__(**keywords)
            self.doublings = self.add_variable((), name="doublings")

        def _scale(self) -> Any:
            return LOSS_SCALE * ops.power(2.0, self.doublings)

        def scale_loss(self, loss: Any) -> Any:
            return loss * self._scale()

        def apply(self, grads: Any, trainable_variables: Any = None) -> None:
            scale, grads = self._scale(), list(grads)
            is_finite = ops.all(ops.stack([ops.all(ops.isfinite(one)) for one in grads if one is not None]))
            self.doublings.assign_add(ops.where(is_finite, GROWTH, -1.0))
            kept = [one if one is None else ops.where(is_finite, one / scale, ops.zeros_like(one)) for one in grads]
            super().apply(kept, trainable_variables)

    return LossScaling
