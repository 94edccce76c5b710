"""AdamW with a rate for every stage, averages of the weights, and all its numbers in variables.

Keras has one rate per optimizer and bakes weight decay into the traced graph. Here the rates of the head and of every
stage of the network, the decay and the speed of the averages are variables, so a trial that differs only in numbers
reuses the graph traced for the last one. Scaling the update, not the gradient: Adam is invariant to the gradient's
scale.

Rates that fall from the head towards the image are those of ULMFiT (Howard and Ruder, https://arxiv.org/abs/1801.06146)
and BEiT (Bao et al., https://arxiv.org/abs/2106.08254).
"""

from collections.abc import Sequence
from typing import Any

from autotl.learn.precision import loss_scaling

HEAD = 0
"""The stage of the head; the last stage of the network is 1, the one before it 2."""
AVERAGING_SHARE = 0.2
"""How far back averages reach, as a share of all steps."""
LEAST_AVERAGED = 10
"""Steps that averages reach back at least."""


def make_optimizer(stages: Sequence[int], passes: int = 1, scales_loss: bool = False) -> Any:
    """An AdamW with a rate for each stage, and `averages`, one running average for each variable.

    `learning_rate` is the schedule's share of all rates, 0 to 1. Decoupled decay (Loshchilov and Hutter,
    https://arxiv.org/abs/1711.05101) applies to kernels, not to vectors.

    Args:
        stages: of each of the model's trainable variables, in its order, counted from the head.
        passes: how many gradients it takes the mean of before it clips it and makes a step.
        scales_loss: for a network that computes in float16.
    """
    import keras

    adam: Any = loss_scaling(keras.optimizers.Adam) if scales_loss else keras.optimizers.Adam

    class TransferAdamW(adam):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(
                learning_rate=1.0, clipnorm=1.0, gradient_accumulation_steps=passes if passes > 1 else None
            )
            self.rates = self.add_variable((max(stages, default=HEAD) + 1,), name="rates")
            self.decay = self.add_variable((), name="decay")
            self.new_share = self.add_variable((), name="new_share")

        def build(self, variables: list[Any]) -> None:
            super().build(variables)
            self.averages = self.add_optimizer_variables(variables, "average")
            self.moments = [*self._momentums, *self._velocities, *self.averages]  # all that steps leave for later ones
            if scales_loss:
                self.moments.append(self.doublings)

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            ops = keras.ops
            # By position: TensorFlow's update step gets the backend's variables, not Keras's.
            position = self._get_variable_index(variable)
            rate = ops.cast(learning_rate * self.rates[stages[position]], variable.dtype)
            if len(variable.shape) > 1:
                self.assign_sub(variable, variable * ops.cast(self.decay, variable.dtype) * rate)
            super().update_step(gradient, variable, rate)
            average = self.averages[position]
            self.assign_add(average, (variable - average) * ops.cast(self.new_share, variable.dtype))

    return TransferAdamW()


def reset_optimizer(
    optimizer: Any, head_rate: float, tail_rate: float, layer_decay: float = 1.0, weight_decay: float = 0.0
) -> None:
    """Forget all moments, averages and counts, and set the numbers of the next trial.

    Args:
        layer_decay: what the tail's rate is multiplied by once for every stage before the last one.
    """
    import keras

    for variable in optimizer.variables:  # not by a factor of 0: a trial that diverged leaves what is not a number
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
    stages = optimizer.rates.shape[0]
    optimizer.rates.assign([head_rate] + [tail_rate * layer_decay**stage for stage in range(stages - 1)])
    optimizer.decay.assign(weight_decay)
    set_step(optimizer, 1.0, 1.0)


def set_steps_done(optimizer: Any, steps: int) -> None:
    """Set how many steps were made: what Adam corrects its moments by. Keras counts gradients, also those that wait."""
    optimizer._iterations.assign(steps * (optimizer.gradient_accumulation_steps or 1))


def set_step(optimizer: Any, share: float, new_share: float) -> None:
    """Set what changes from step to step.

    Args:
        share: of all rates.
        new_share: how much the new weights count in their averages; 1 averages nothing.
    """
    optimizer.learning_rate = share
    optimizer.new_share.assign(new_share)


def averaging_share(step: int, total: int) -> float:
    """How much the weights after a step (0, 1, ...) of so many count in an average that forgets the first ones.

    An exponential average with momentum m is made unbiased as Adam's are (Kingma and Ba,
    https://arxiv.org/abs/1412.6980): it starts as the mean of all weights so far. `m = 1 - 1 / max(10, total / 5)`.
    """
    kept = 1.0 - 1.0 / max(LEAST_AVERAGED, AVERAGING_SHARE * total)
    return (1.0 - kept) / (1.0 - kept ** (step + 1))
