"""The models that are trained from scratch: a KerasTuner hypermodel's, or a backbone with random weights and a head."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from autotl.backbones.cuts import stage_cuts
from autotl.backbones.hypermodel import WholeModel
from autotl.backbones.registry import load_backbone
from autotl.errors import TrialError, UsageError
from autotl.heads.builders import open_builder
from autotl.heads.logits import ends_in_softmax, log_probabilities
from autotl.heads.replay import Replay, UnsettledError, make_replay
from autotl.learn.config import TrialConfig
from autotl.learn.heads import build_head
from autotl.learn.networks import tap_model
from autotl.learn.optimizer import HEAD, make_optimizer, reset_optimizer
from autotl.learn.pooling import pool
from autotl.learn.probe import architecture
from autotl.learn.seeding import seed_building
from autotl.learn.training import reseed

TO_UNIT = 1.0 / 255.0
MOMENTUM = 0.9
"""Of batch normalisation at most: statistics that begin at 0 and 1 must be the images' after dozens of steps."""


@dataclass(frozen=True)
class Whole:
    """A compiled classifier, ready for Keras's own training loop."""

    model: Any
    """Float images to whatever the loss wants."""
    scorer: Any
    """uint8 images `[B, S, S, 3]` to logits `[B, C]`, by the same variables, in inference mode."""
    scale: float
    """What pixels in 0..255 are multiplied by before they go into `model`."""
    is_sparse: bool
    """Whether the loss takes class indices, not one-hot targets."""
    owner: str
    replay: Replay | None = None
    """The hyperparameters of a hypermodel; its `fit` may ask for more of them."""
    fit: Callable[..., Any] | None = None
    """The hypermodel's own `fit(hp, model, ...)`, where it has one."""
    features: str | None = None
    """Name of the operation whose output the head stands on, where that is known."""
    has_schedule: bool = False
    """Whether whoever trains it sets its rate before every step: `autotl.learn.training.schedule`."""

    def insist_on_settled(self) -> None:
        """Raises:
        UnsettledError: the hypermodel has asked for values that it was not given.
        """
        if self.replay is not None and self.replay.needs:
            raise UnsettledError(self.owner, self.replay.needs, self.replay.chosen())


def build_whole(config: TrialConfig, classes: int, seed: int) -> Whole:
    """The model of a trial with fresh random weights. That of a backbone is traced once and serves the next trial too.

    Args:
        classes: how many outputs it has.
        seed: of the weights, and of all that is drawn after them.

    Raises:
        UnsettledError: a hypermodel asks for other values than the configuration has.
        UsageError: it is no hypermodel, or gives no classifier for these images.
        TrialError: the model could not be delivered.
    """
    import keras

    record = load_backbone(config.backbone)
    if isinstance(record.build, WholeModel):
        keras.utils.set_random_seed(seed)
        return _build_hypermodel(config, record.build, classes)
    place = (config.backbone, config.image_size, classes)
    whole = _traced_backbone(*place, architecture(config), config.label_smoothing)
    seed_building(seed)
    whole.model.set_weights(_stack(*place, architecture(config))[0].get_weights())
    reset_optimizer(whole.model.optimizer, config.head_rate, config.head_rate, weight_decay=config.weight_decay)
    reseed(whole.model, seed)
    return whole


def _build_hypermodel(config: TrialConfig, whole: WholeModel, classes: int) -> Whole:
    import keras

    shape = (config.image_size, config.image_size, 3)
    offered = {"input_shape": shape, "image_size": config.image_size, "classes": classes, "num_classes": classes}
    replay = make_replay(dict(config.options))
    builder = open_builder(whole.reference, offered)
    model = builder.build(replay)
    if replay.needs:
        raise UnsettledError(whole.owner, replay.needs, replay.chosen())
    _check(model, whole.reference, shape, classes)
    if not model.compiled and builder.fit is None:
        loss = keras.losses.CategoricalCrossentropy(from_logits=not ends_in_softmax(model.outputs[0]))
        model.compile(optimizer=keras.optimizers.Adam(config.head_rate), loss=loss)
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    has_own_scale = any(isinstance(layer, kinds) for layer in model._flatten_layers(include_self=False))
    scale = 1.0 if has_own_scale else TO_UNIT
    scorer = _scorer(model, scale, _gives_probabilities(model))
    return Whole(model, scorer, scale, "sparse" in _loss_name(model), whole.owner, replay, builder.fit)


def _check(model: Any, reference: str, shape: tuple[int, ...], classes: int) -> None:
    import keras

    if not isinstance(model, keras.Model):
        raise UsageError(f"A hypermodel must build a keras.Model, {reference} builds a {type(model).__name__}.")
    if not model.built:
        model.build((None, *shape))
    symbolic = isinstance(model, keras.Sequential) or hasattr(model, "operations")
    if not symbolic or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UsageError(
            f"A model from scratch is a Functional or Sequential one with one input and one output, {reference} is not."
        )
    if tuple(model.outputs[0].shape) != (None, classes):
        raise UsageError(
            f"A model for {classes} classes gives [B, {classes}], {reference} gives {tuple(model.outputs[0].shape)}. "
            "Let its constructor or its build take `classes`."
        )
    if any(isinstance(layer, keras.layers.Lambda) for layer in model._flatten_layers(include_self=False)):
        raise TrialError(
            f"A model must load in Keras's safe mode to be delivered, so it has no Lambda layers; what {reference} "
            "builds here has some. Write a registered layer instead, or leave this choice out."
        )


@lru_cache(maxsize=1)
def _traced_backbone(name: str, image_size: int, classes: int, shape: TrialConfig, smoothing: float) -> Whole:
    """The baseline of a backbone: all of it trains, batch normalisation too, at the rate of the head."""
    import keras

    model, features = _stack(name, image_size, classes, shape)
    model.compile(
        optimizer=make_optimizer([HEAD] * len(model.trainable_variables)),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing),
    )
    model.optimizer.build(model.trainable_variables)
    scorer = _scorer(model, 1.0, gives_probabilities=False)
    return Whole(model, scorer, 1.0, is_sparse=False, owner=name, features=features, has_schedule=True)


def _stack(name: str, image_size: int, classes: int, shape: TrialConfig) -> tuple[Any, str]:
    """A backbone of random weights with a head, and the operation in it whose output the head stands on."""
    import keras

    backbone = load_backbone(name).build(image_size, "random")
    for layer in backbone._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, MOMENTUM)
    images, cuts = keras.Input(backbone.input_shape[1:]), stage_cuts(backbone)
    if shape.taps == "last":
        features = pool(backbone(images), shape.pooling)
    else:
        features = tap_model(backbone, cuts, shape.pooling, shape.taps)(images)
    head = build_head(shape, tuple(features.shape[1:]), classes)
    return keras.Model(images, head(features), name="from_scratch"), cuts[-1].name


def _scorer(model: Any, scale: float, gives_probabilities: bool) -> Any:
    import keras

    # without the optimizer, which would be saved with the delivered model
    plain = keras.Model(model.inputs, model.outputs, name=model.name)
    image = keras.Input(model.inputs[0].shape[1:], dtype="uint8", name="image")
    outputs = plain(keras.layers.Rescaling(scale, name="to_float")(image), training=False)
    outputs = outputs[0] if isinstance(outputs, list | tuple) else outputs
    return keras.Model(image, log_probabilities(outputs) if gives_probabilities else outputs)


def _gives_probabilities(model: Any) -> bool:
    """Whether the outputs are probabilities: they come out of a softmax, or the loss takes them for that."""
    loss = model.loss if model.compiled else None
    if getattr(loss, "from_logits", False):
        return False
    return ends_in_softmax(model.outputs[0]) or "crossentropy" in _loss_name(model)


def _loss_name(model: Any) -> str:
    """The compiled loss, whether it was given by name, as a function or as an object, in lower case letters only."""
    loss = model.loss if model.compiled else None
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return str(name).replace("_", "").lower()
