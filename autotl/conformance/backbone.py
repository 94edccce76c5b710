"""`check_backbone`: whether a backbone keeps its contract."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from autotl.backbones.contract import API_VERSION, PRETRAINED, RANDOM, Backbone
from autotl.backbones.cuts import Cut, find_cuts, stage_cuts
from autotl.backbones.graph import functional
from autotl.backbones.registry import KIND
from autotl.conformance.features import FINITE, INFERENCE, NORMALISED, REPEATABLE
from autotl.conformance.listing import check_import, registration
from autotl.conformance.measure import outputs_of
from autotl.conformance.rules import Passed, Rule, RuleError, apply_rules
from autotl.conformance.saving import insist_on_no_lambda, reload
from autotl.conformance.splits import CUTS, GRADIENTS
from autotl.errors import AutotlError, UsageError


@dataclass(frozen=True)
class Conformance:
    """What `check_backbone` measured on a backbone that passed."""

    name: str
    image_size: int
    cuts: int
    stages: tuple[Cut, ...]
    split_difference: float
    """Largest difference between the model and any of its splits, relative to the largest feature."""
    seconds: float
    checks: tuple[Passed, ...]


@dataclass(frozen=True)
class BackboneSubject:
    """A backbone under examination; what is built is built once."""

    backbone: Backbone
    size: int
    weights: str

    @cached_property
    def model(self) -> Any:
        return self.backbone.build(self.size, self.weights)

    @cached_property
    def images(self) -> np.ndarray:
        return make_images(self.size)

    @cached_property
    def features(self) -> np.ndarray:
        return outputs_of(self.model, self.images)

    @cached_property
    def stages(self) -> list[Cut]:
        return stage_cuts(self.model)

    @cached_property
    def split_differences(self) -> list[float]:
        """Filled by the check of the cuts."""
        return []


def check_backbone(
    backbone: Backbone, image_size: int | None = None, weights: str = RANDOM, *, skip: Collection[str] = ()
) -> Conformance:
    """Build a backbone and check everything that autotl relies on.

    Args:
        backbone: the record that the plugin's entry point names.
        image_size: in pixels; the smallest that the backbone takes when `None`, to be quick.
        weights: "random" needs no download; "pretrained" also checks the loading of weights.
        skip: names of checks to leave out, such as "sizes" where building costs minutes.

    Returns:
        What was measured.

    Raises:
        BrokenRule: (an AssertionError) a rule of the contract is broken; it says which, what was found, what to do.
    """
    started = time.perf_counter()
    apply_rules((PUBLISHED,), backbone)
    size = backbone.nearest_size(backbone.min_image_size) if image_size is None else backbone.resolve_size(image_size)
    subject = BackboneSubject(backbone, size, weights)
    checks = apply_rules(RULES, subject, skip)
    return Conformance(
        name=backbone.name,
        image_size=size,
        cuts=len(find_cuts(subject.model)),
        stages=tuple(subject.stages),
        split_difference=max(subject.split_differences, default=0.0),
        seconds=time.perf_counter() - started,
        checks=checks,
    )


def make_images(size: int) -> np.ndarray:
    """Black, white and seeded noise: float32 `[3, S, S, 3]` in 0..255."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3))
    return np.stack([np.zeros_like(noise), np.full_like(noise, 255), noise]).astype("float32")


def _check_published(backbone: Any) -> str:
    if not isinstance(backbone, Backbone):
        raise RuleError(
            f"a {type(backbone).__name__}.", "Let the entry point name an autotl.backbones.contract.Backbone."
        )
    return "a Backbone"


def _check_record(subject: BackboneSubject) -> str:
    record = subject.backbone
    if record.api_version != API_VERSION:
        raise RuleError(
            f"api_version {record.api_version}.", f"This autotl has version {API_VERSION}; leave the field out."
        )
    if not record.image_size >= record.min_image_size > 0 or record.image_size % record.size_multiple:
        raise RuleError(
            f"image_size {record.image_size}, min_image_size {record.min_image_size}, size_multiple "
            f"{record.size_multiple}.",
            "The native size is at least the smallest one and a multiple of size_multiple.",
        )
    for field in ("source", "licence", "dataset"):
        if not getattr(record.weights, field):
            raise RuleError(f"weights.{field} is empty.", 'Write "none" and why, where there is none.')
    if not isinstance(record.available(), bool):
        raise RuleError(f"available() gives {record.available()!r}.", "Let it return True or False.")
    pretrained = f"weights from {record.weights.source}" if record.weights.is_pretrained else "no pretrained weights"
    return f"{record.image_size} px, {pretrained}, licence {record.weights.licence}"


def _check_import(subject: BackboneSubject) -> str:
    return check_import(KIND, subject.backbone.name)


def _check_refusals(subject: BackboneSubject) -> str:
    record = subject.backbone
    requests: list[tuple[int, str]] = [(record.min_image_size - 1, RANDOM), (subject.size, "no such weights")]
    for request in requests:
        try:
            record.build(*request)
        except UsageError:
            continue
        raise RuleError(
            f"build{request} returned.", "Call check_image_size and check_weights (or load_weights) in `build`."
        )
    if record.weights.is_pretrained:
        return f"refuses {record.min_image_size - 1} px and unknown weights"
    try:
        record.build(subject.size, PRETRAINED)
    except AutotlError:
        return f"refuses {record.min_image_size - 1} px, unknown weights, and pretrained weights, which it has not"
    raise RuleError(
        f'build({subject.size}, "pretrained") returned, and the record says that its weights are '
        f"{record.weights.source!r}.",
        "Raise a PluginError there, or say in the record where the weights come from.",
    )


def _check_build(subject: BackboneSubject) -> str:
    try:
        graph = functional(subject.model)
    except AutotlError as error:
        raise RuleError(str(error), "Return keras.Model(inputs, outputs) from `build`.") from error
    shape, size = tuple(graph.inputs[0].shape), subject.size
    if shape != (None, size, size, 3):
        raise RuleError(f"build({size}, ...) takes {shape}.", f"Begin with keras.Input(({size}, {size}, 3)).")
    output = tuple(graph.outputs[0].shape)
    if len(output) not in (3, 4):
        raise RuleError(f"an output {output} of rank {len(output)}.", "Leave pooling and classifier to the head.")
    parameters, said = subject.model.count_params(), subject.backbone.parameters
    if said is not None and parameters != said:
        raise RuleError(f"the record says {said} parameters, it has {parameters}.", "Correct the record, or say None.")
    insist_on_no_lambda(subject.model)
    return f"{size} px to {'x'.join(str(length) for length in output[1:])}, {parameters:,} parameters"


def _check_sizes(subject: BackboneSubject) -> str:
    record, model = subject.backbone, subject.model
    if not record.resizable:
        return f"takes {record.image_size} px and no other size"
    channels, parameters = functional(model).outputs[0].shape[-1], model.count_params()
    others = other_sizes(record, subject.size)
    for size in others:
        other = record.build(size, RANDOM)
        images = make_images(size)
        if tuple(other.input_shape) != (None, size, size, 3):
            raise RuleError(
                f"build({size}, ...) takes {other.input_shape}.", "Use the image size that `build` is given."
            )
        features = outputs_of(other, images[2:])
        if not np.isfinite(features).all():
            raise RuleError(f"at {size} px the features are not finite.", "Declare the smallest size that works.")
        if features.shape[-1] != channels or other.count_params() != parameters:
            raise RuleError(
                f"{parameters} weights and {channels} channels at {subject.size} px, {other.count_params()} and "
                f"{features.shape[-1]} at {size} px.",
                "One set of weights must fit every size; declare resizable=False otherwise.",
            )
    return f"also {' and '.join(str(size) for size in others)} px, with the same weights"


def other_sizes(record: Backbone, size: int) -> list[int]:
    """Two more sizes to build at, small ones to be quick: one step and a half above the smallest."""
    smallest = record.nearest_size(record.min_image_size)
    candidates = [smallest, smallest + record.size_multiple, record.nearest_size(round(1.5 * smallest))]
    candidates.append(candidates[-1] + record.size_multiple)
    return sorted(dict.fromkeys(one for one in candidates if one != size))[:2]


def _check_saving(subject: BackboneSubject) -> str:
    registered = registration(KIND, subject.backbone.name)
    loaded = reload(subject.model, subject.images, subject.features, registered)
    for name in ("index", "name", "shape"):
        saved, fresh = ([getattr(cut, name) for cut in stages] for stages in (stage_cuts(loaded), subject.stages))
        if saved != fresh:
            raise RuleError(
                f"by {name} the stages were {fresh} and are {saved}.", "Give every layer a name of its own."
            )
    return "loads in safe mode, computes the same, has the same stages"


PUBLISHED = Rule("record", "A plugin publishes a Backbone.", _check_published)
RULES = (
    Rule("record", "The record says which sizes the network takes and where its weights come from.", _check_record),
    Rule("import", "Importing the module of the record loads nothing heavy.", _check_import),
    Rule(
        "refusals", "build raises a UsageError for what it cannot do, and gives no weights it has not.", _check_refusals
    ),
    Rule("build", "build gives a Functional model from [B, S, S, 3] to [B, h, w, c] or [B, T, c].", _check_build),
    FINITE,
    REPEATABLE,
    INFERENCE,
    NORMALISED,
    Rule("sizes", "The network can be built at every size that the record allows.", _check_sizes),
    CUTS,
    Rule("saving", "The model survives its .keras file in safe mode, without Lambda layers.", _check_saving),
    GRADIENTS,
)
