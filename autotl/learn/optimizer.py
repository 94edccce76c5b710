"""AdamW with two learning rates and all its numbers in variables.

Keras has one rate per optimizer and bakes weight decay into the traced graph. Here the tail's rate (as a share of the
head's) and the decay are variables, so a trial that differs only in numbers reuses the graph traced for the last one.
Scaling the update, not the gradient: Adam is invariant to the gradient's scale.
"""

from typing import Any


def make_optimizer(trainable: list[Any], head: list[Any]) -> Any:
    """An AdamW whose `learning_rate` is the head's; everything else moves at `tail_share` times that.

    Decoupled decay (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101) applies to kernels, not to vectors.

    Args:
        trainable: the model's trainable variables, in its order.
        head: those of them that belong to the head.
    """
    import keras

    # By position: TensorFlow's update step gets the backend's variables, not Keras's.
    head_ids = {id(variable) for variable in head}
    head_positions = {position for position, variable in enumerate(trainable) if id(variable) in head_ids}

    class TransferAdamW(keras.optimizers.Adam):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(learning_rate=1e-3, clipnorm=1.0)
            self.tail_share = keras.Variable(1.0, trainable=False, name="tail_share")
            self.decay = keras.Variable(0.0, trainable=False, name="decay")

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            ops = keras.ops
            rate = ops.cast(learning_rate, variable.dtype)
            if self._get_variable_index(variable) not in head_positions:
                rate = rate * ops.cast(self.tail_share, variable.dtype)
            if len(variable.shape) > 1:
                self.assign_sub(variable, variable * ops.cast(self.decay, variable.dtype) * rate)
            super().update_step(gradient, variable, rate)

    return TransferAdamW()


def reset_optimizer(optimizer: Any, head_rate: float, tail_rate: float, weight_decay: float) -> None:
    """Forget all moments and counts, and set the numbers of the next trial."""
    for variable in optimizer.variables:
        variable.assign(variable * 0)
    optimizer.learning_rate = head_rate
    optimizer.tail_share.assign(tail_rate / head_rate if head_rate > 0 else 0.0)
    optimizer.decay.assign(weight_decay)
