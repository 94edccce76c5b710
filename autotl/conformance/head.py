"""`check_head`: whether a head keeps its contract."""

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from autotl.backbones.graph import functional
from autotl.conformance.listing import check_import, registration
from autotl.conformance.measure import BATCH_TOLERANCE, batch_difference, is_same_twice, names, outputs_of
from autotl.conformance.measure import without_gradient as variables_without_gradient
from autotl.conformance.rules import Passed, Rule, RuleError, apply_rules
from autotl.conformance.saving import insist_on_no_lambda, reload
from autotl.errors import AutotlError
from autotl.heads.contract import API_VERSION, Head
from autotl.heads.hypermodel import build_settled
from autotl.heads.registry import KIND

WIDTHS_AND_CLASSES = ((24, 3), (1, 2), (96, 11))
"""Numbers of features and of classes; the first pair is what most checks work on."""
LEARNING_RATES = (1e-2, 1e-3, 1e-1)
STEPS = 60
ENOUGH_ACCURACY = 0.9
SMALL_LOSS = 0.55
"""Half of what guessing among three classes costs."""


@dataclass(frozen=True)
class HeadConformance:
    """What `check_head` measured on a head that passed."""

    name: str
    seconds: float
    checks: tuple[Passed, ...]


@dataclass(frozen=True)
class HeadSubject:
    """A head under examination; what is built is built once."""

    head: Head

    @cached_property
    def model(self) -> Any:
        import keras

        keras.utils.set_random_seed(0)
        return build_settled(self.head, *WIDTHS_AND_CLASSES[0])

    @cached_property
    def features(self) -> np.ndarray:
        return make_features(WIDTHS_AND_CLASSES[0][0])

    @cached_property
    def logits(self) -> np.ndarray:
        return outputs_of(self.model, self.features)


def check_head(head: Head, *, skip: Collection[str] = ()) -> HeadConformance:
    """Build a head in several ways and check everything that autotl relies on.

    Args:
        head: the record that the plugin's entry point names.
        skip: names of checks to leave out.

    Returns:
        What was measured.

    Raises:
        BrokenRule: (an AssertionError) a rule of the contract is broken; it says which, what was found, what to do.
    """
    started = time.perf_counter()
    apply_rules((PUBLISHED,), head)
    checks = apply_rules(RULES, HeadSubject(head), skip)
    return HeadConformance(head.name, time.perf_counter() - started, checks)


def make_features(width: int, count: int = 8) -> np.ndarray:
    """Features as heads get them: float32 `[count, width]`, mean 0 and variance 1."""
    return np.random.default_rng(0).normal(size=(count, width)).astype("float32")


def _check_published(head: Any) -> str:
    if not isinstance(head, Head):
        raise RuleError(f"a {type(head).__name__}.", "Let the entry point name an autotl.heads.contract.Head.")
    return "a Head"


def _check_record(subject: HeadSubject) -> str:
    from autotl.space.options import read_options

    head = subject.head
    if head.api_version != API_VERSION:
        raise RuleError(
            f"api_version {head.api_version}.", f"This autotl has version {API_VERSION}; leave the field out."
        )
    try:
        options = read_options(head)
    except AutotlError as error:
        raise RuleError(str(error), "Write options as in a space file.") from error
    ranges = ", ".join(f"{name} {parameter}" for name, parameter in options.items())
    return f"options: {ranges}" if ranges else f"options: {', '.join(head.options) if head.options else 'none'}"


def _check_import(subject: HeadSubject) -> str:
    return check_import(KIND, subject.head.name)


def _check_build(subject: HeadSubject) -> str:
    count = 0
    for features, classes in WIDTHS_AND_CLASSES:
        _insist_on_shape(build_settled(subject.head, features, classes), features, classes)
        count += 1
    features, classes = WIDTHS_AND_CLASSES[0]
    for options in end_options(subject.head):
        _insist_on_shape(subject.head.build(features, classes, options), features, classes)
        count += 1
    insist_on_no_lambda(subject.model)
    return f"built {count} times, {subject.model.count_params():,} parameters for {features} features"


def end_options(head: Head) -> Iterator[Mapping[str, Any]]:
    """The defaults with one option after the other at each end of its range, or at each of its values."""
    from autotl.space.options import read_options
    from autotl.space.parameters import ends

    for name, parameter in read_options(head).items():
        for value in ends(parameter):
            if value != head.defaults[name]:
                yield {**head.defaults, name: value}


def _insist_on_shape(model: Any, features: int, classes: int) -> None:
    try:
        graph = functional(model)
    except AutotlError as error:
        raise RuleError(str(error), "Return keras.Model(inputs, outputs) from `build`.") from error
    taken, given = tuple(graph.inputs[0].shape), tuple(graph.outputs[0].shape)
    if taken != (None, features) or given != (None, classes):
        raise RuleError(
            f"for {features} features and {classes} classes it takes {taken} and gives {given}.",
            "Begin with keras.Input((features,)) and end with keras.layers.Dense(classes).",
        )


def _check_logits(subject: HeadSubject) -> str:
    features, logits = subject.features, subject.logits
    unusual = outputs_of(subject.model, np.concatenate([np.zeros_like(features[:1]), 100 * features]))
    if not np.isfinite(logits).all() or not np.isfinite(unusual).all():
        raise RuleError(
            "some logits of ordinary, zero or large features are not.", "Look for divisions and logarithms."
        )
    sums = np.concatenate([logits, unusual]).sum(axis=1)
    if np.allclose(sums, 1.0, atol=1e-4) and logits.min() >= 0:
        raise RuleError("each row is positive and sums to 1: probabilities.", "Leave the softmax out; autotl adds it.")
    return f"finite, from {logits.min():.3g} to {logits.max():.3g} at first"


def _check_repeatable(subject: HeadSubject) -> str:
    if not is_same_twice(subject.model, subject.features, subject.logits):
        raise RuleError("the same features gave other logits the second time.", "Take out what is random in inference.")
    worst = batch_difference(subject.model, subject.features, subject.logits)
    if worst > BATCH_TOLERANCE:
        raise RuleError(
            f"the logits of an image depend on its batch, by {worst:.1e}.", "Do not call layers with training=True."
        )
    return f"the same twice, independent of the batch to {worst:.0e}"


def _check_gradients(subject: HeadSubject) -> str:
    if not subject.model.trainable_variables:
        raise RuleError("there is nothing to train.", "A head has weights.")
    unreached = variables_without_gradient(subject.model, subject.features)
    if unreached:
        raise RuleError(
            f"none reaches {names(unreached)}.", "Use every weight, and look for stop_gradient and rounding."
        )
    return f"all {len(subject.model.trainable_variables)} trainable variables"


def _check_learns(subject: HeadSubject) -> str:
    seen = []
    for rate in LEARNING_RATES:
        accuracy, loss = _learn(subject.head, rate)
        seen.append(f"{accuracy:.0%} right with loss {loss:.2g} at rate {rate:g}")
        if accuracy >= ENOUGH_ACCURACY and loss <= SMALL_LOSS:
            return f"{seen[-1]}, after {STEPS} steps of Adam"
    raise RuleError(
        f"after {STEPS} steps of Adam, {'; '.join(seen)}.",
        "Features come with variance 1: see the scale of the layers, and whether logits can be large and negative.",
    )


def _learn(head: Head, rate: float) -> tuple[float, float]:
    """Share of right answers, and cross-entropy, after a few steps on three clouds of points."""
    import keras

    (width, classes), generator = WIDTHS_AND_CLASSES[0], np.random.default_rng(0)
    labels = np.arange(96) % classes
    points = 3.0 * generator.normal(size=(classes, width))[labels] + generator.normal(size=(len(labels), width))
    features = ((points - points.mean(axis=0)) / points.std(axis=0)).astype("float32")
    keras.utils.set_random_seed(0)
    model = build_settled(head, width, classes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)
    for _ in range(STEPS):
        model.train_on_batch(features, labels)
    logits = outputs_of(model, features).astype(np.float64)
    of_label = logits[np.arange(len(labels)), labels]
    loss = float(np.mean(np.logaddexp.reduce(logits, axis=1) - of_label))
    return float(np.mean(logits.argmax(axis=1) == labels)), loss


def _check_saving(subject: HeadSubject) -> str:
    registered = registration(KIND, subject.head.name)
    reload(subject.model, subject.features, subject.logits, registered)
    return "loads in safe mode, computes the same"


PUBLISHED = Rule("record", "A plugin publishes a Head.", _check_published)
RULES = (
    Rule("record", "The options of a head can be searched, and each has a default in its range.", _check_record),
    Rule("import", "Importing the module of the record loads nothing heavy.", _check_import),
    Rule("build", "build gives a Functional model from [B, features] to [B, classes], for all options.", _check_build),
    Rule("logits", "A head gives finite logits, without a softmax.", _check_logits),
    Rule("repeatable", "The same features have the same logits, in any batch.", _check_repeatable),
    Rule("gradients", "A gradient reaches every weight.", _check_gradients),
    Rule("learning", "A head learns to tell three well separated classes within a few steps.", _check_learns),
    Rule("saving", "The model survives its .keras file in safe mode, without Lambda layers.", _check_saving),
)
