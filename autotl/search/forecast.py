"""How long things will take: from three timed batches of each network, and then from the passes of trials.

A forward pass costs its images times what one was timed at, with the square of the image size. A training step costs
two forward steps of a tail, by its share of the multiplications: three by the work, but later layers do more of that in
a second than early ones (measured 1.7 for the last stage of EfficientNet-Lite0 and 2.1 for its last two, on a CPU). It
costs three of a whole network. That is enough for the time of arrival to be right within a factor of two
(`docs/architecture.md` has measured ones), and for a budget to leave out what it cannot pay for.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotl.space.schema import Stage

TRAIN_STEP = 3.0  # in forward steps of a network that trains as a whole: once forward, twice backward
TAIL_STEP = 2.0  # in forward steps of a tail, by multiplications
HEAD_SECONDS = 4e-4  # of solving a fold with a thousand features, for each of its images
EPOCHS = 12  # of a fit, where nothing says how many
SETUP_SECONDS = 3.0  # of building and tracing what trains
FINISH_SECONDS = 4.0  # of saving, loading and checking a model
NOVELTY_IMAGES, HELD_OUT_IMAGES = 2000, 500  # most that are looked at for what is unusual (autotl.deliver.ood)
ENOUGH_IMAGES = 100  # whose passes tell a speed better than the check does
VIEWS = {"none": 1, "flip": 2, "light": 4, "strong": 8}
FRESH = ("light", "strong")  # drawn anew in the last fit, so that the frozen layers run again
PRUNED_SHARE = 0.5  # of a stage's training is left when losers are stopped early


@dataclass(frozen=True)
class Speed:
    """What `autotl.learn.timing` measured of a backbone."""

    seconds_per_image: float
    image_size: int
    tail_shares: tuple[float, ...]
    multiply_adds: int = 0  # of one image's pass

    def forward(self, image_size: int) -> float:
        """Seconds of one image's pass at a size."""
        return float(self.seconds_per_image * (image_size / self.image_size) ** 2)

    def tail_share(self, freeze_depth: float) -> float:
        """The share of a pass behind the cut that a freeze depth means."""
        frozen = round(freeze_depth * len(self.tail_shares))
        return 1.0 if frozen == 0 else self.tail_shares[frozen - 1]

    def step(self, image_size: int, freeze_depth: float) -> float:
        """Seconds of one image's training step."""
        tail = self.tail_share(freeze_depth)
        return self.forward(image_size) * (TAIL_STEP * tail if tail < 1.0 else TRAIN_STEP)


@dataclass
class Forecast:
    """Seconds of trials on this machine, and which passes over the images are paid for."""

    speeds: Mapping[str, Speed]
    images: int  # for training and validation
    test_images: int
    paid: set[tuple[Any, ...]] = field(default_factory=set)

    def trial_seconds(
        self,
        config: Mapping[str, Any],
        evaluation: str,
        folds: int = 5,
        repeats: int = 1,
        images: int | None = None,
    ) -> float:
        """What a trial will take, with the passes that it must pay for; 0 for a backbone that was not timed.

        Args:
            config: of the trial.
            evaluation: "cross_validation" or "holdout".
            folds: of a cross-validation.
            repeats: of a cross-validation.
            images: that the trial sees, where these are not all.
        """
        speed = self.speeds.get(config["backbone"])
        if speed is None:
            return 0.0
        size, depth = int(config["image_size"]), float(config.get("freeze_depth", 1.0))
        epochs = int(config.get("epochs", EPOCHS))
        forward, tail = speed.forward(size), speed.tail_share(depth)
        fits = folds * repeats if evaluation == "cross_validation" else 1
        seen = self.images if images is None else images
        rows = seen * (1.0 - 1.0 / folds if evaluation == "cross_validation" else 0.8)
        if config["recipe"] == "scratch":
            return SETUP_SECONDS + fits * rows * epochs * TRAIN_STEP * forward
        seconds = seen * forward * self._unpaid(config, images, "pooled", 1.0)
        if config["recipe"] == "probe":
            return seconds + fits * rows * HEAD_SECONDS
        share = 1.0 - tail if tail < 1.0 else 0.0
        seconds += seen * forward * share * self._unpaid(config, images, "cut", depth)
        return seconds + SETUP_SECONDS + fits * rows * epochs * speed.step(size, depth)

    def pay(self, config: Mapping[str, Any], images: int | None = None) -> None:
        """Note that a trial ran: the passes that it needed, over these images, are cached from now on."""
        self.paid |= set(_passes(config, images, "pooled", 1.0))
        if config["recipe"] == "finetune":
            self.paid |= set(_passes(config, images, "cut", config.get("freeze_depth", 1.0)))

    def learn(self, config: Mapping[str, Any], ledger: Mapping[str, Any]) -> None:
        """Correct a backbone's speed by the passes of a frozen trial: a few images tell it roughly."""
        done = ledger["counts"].get("multiply_adds_forwarded", 0)
        speed = self.speeds.get(config["backbone"])
        if speed is None or config["recipe"] != "probe" or done <= ENOUGH_IMAGES * speed.multiply_adds:
            return
        measured = ledger["seconds"].get("forward", 0.0) / done * speed.multiply_adds
        self.speeds = {**self.speeds, config["backbone"]: replace(speed, seconds_per_image=measured)}

    def test_seconds(self, config: Mapping[str, Any]) -> float:
        """Saving a model, loading it anew, checking it and testing it."""
        speed = self.speeds.get(config["backbone"])
        forward = 0.0 if speed is None else speed.forward(int(config["image_size"]))
        passes = self.test_images + min(self.test_images, HELD_OUT_IMAGES)  # scored, and how unusual they are
        if config["recipe"] != "probe":
            passes += min(self.images, NOVELTY_IMAGES)
        return FINISH_SECONDS + passes * forward

    def finish_seconds(self, config: Mapping[str, Any]) -> float:
        """The last fit of a configuration, and its test."""
        speed = self.speeds.get(config["backbone"])
        seconds = self.test_seconds(config)
        if speed is None:
            return seconds
        size, depth = int(config["image_size"]), float(config.get("freeze_depth", 1.0))
        if config["recipe"] == "probe":
            return seconds + self.images * HEAD_SECONDS
        steps = self.images * int(config.get("epochs", EPOCHS))
        if config["recipe"] == "scratch":
            return seconds + steps * TRAIN_STEP * speed.forward(size)
        prefix = 1.0 - speed.tail_share(depth) if config.get("augmentation") in FRESH else 0.0
        return seconds + SETUP_SECONDS + steps * (speed.step(size, depth) + prefix * speed.forward(size))

    def _unpaid(self, config: Mapping[str, Any], images: int | None, kind: str, depth: float) -> int:
        return len(set(_passes(config, images, kind, depth)) - self.paid)


def _passes(config: Mapping[str, Any], images: int | None, kind: str, depth: float) -> list[tuple[Any, ...]]:
    """The stores that a trial reads: one for each cached view."""
    count = VIEWS.get(str(config.get("augmentation", "none")), 1)
    if config["recipe"] == "finetune" and kind == "pooled":
        count = 1  # its head starts from the plain view's solution
    seen = (config["backbone"], config["image_size"], config.get("resize"), images)
    return [(*seen, kind, depth, view) for view in range(count)]


def stage_seconds(
    forecast: Forecast,
    stage: Stage,
    evaluation: str,
    configs: Sequence[Mapping[str, Any]],
    share: float = 1.0,
    images: int | None = None,
) -> float:
    """Seconds of a stage that runs these configurations, one after the other; their passes are paid afterwards."""
    total = 0.0
    for config in configs:
        seconds = forecast.trial_seconds(config, evaluation, stage.folds, stage.repeats, images)
        total += seconds * (share if config["recipe"] != "probe" else 1.0)
        forecast.pay(config, images)
    return total


class Drawer:
    """Draws a stage's values without Optuna: what a stage may cost, before the sampler says what it will.

    It is a `Suggester`.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        return self._random.choice(list(choices))

    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool = False) -> float:
        return low if log else self._random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, /, *, log: bool = False) -> int:
        return self._random.randint(low, high)
