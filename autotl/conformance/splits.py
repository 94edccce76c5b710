"""Checks of the cuts of a backbone: what is split computes the same, and the tail can be trained."""

from typing import TYPE_CHECKING

from autotl.backbones.cuts import split_model
from autotl.conformance.measure import difference, matters, names, outputs_of, size, without_gradient
from autotl.conformance.rules import Rule, RuleError

if TYPE_CHECKING:
    from autotl.conformance.backbone import BackboneSubject

SPLIT_TOLERANCE = 1e-5


def _check_cuts(subject: "BackboneSubject") -> str:
    model, images, features = subject.model, subject.images, subject.features
    everything = {id(variable) for variable in model.weights}
    trained = size(model.trainable_variables)
    for cut in subject.stages:
        prefix, tail = split_model(model, cut)
        again = outputs_of(prefix, images) if tail is None else outputs_of(tail, outputs_of(prefix, images))
        worst = difference(features, again)
        if worst > SPLIT_TOLERANCE:
            raise RuleError(
                f"split at {cut.name}, the features differ by {worst:.1e}.", "Let layers depend on inputs alone."
            )
        subject.split_differences.append(worst)
        parts = [variable for part in (prefix, tail) if part is not None for variable in part.weights]
        if {id(variable) for variable in parts} != everything:
            raise RuleError(f"split at {cut.name}, some weights are in neither part.", "Use all weights in the graph.")
        tuned = [] if tail is None else list(tail.trainable_variables)
        frozen = set() if prefix is None else {id(variable) for variable in prefix.weights}
        if both := [variable for variable in tuned if id(variable) in frozen]:
            raise RuleError(
                f"split at {cut.name}, training changes the frozen {names(both)}.", "Do not share such layers."
            )
        if size(tuned) > trained:
            raise RuleError(
                f"{cut.name} leaves {size(tuned)} weights to train, the cut before it {trained}.",
                "A deeper cut must not leave more to train.",
            )
        trained = size(tuned)
    if trained:
        raise RuleError(f"{trained} weights lie behind the last cut.", "End the model with the features themselves.")
    worst = max(subject.split_differences)
    packed = sum(cut.tensors > 1 for cut in subject.stages)
    several = f", {packed} of several tensors" if packed else ""
    return f"{len(subject.stages)} stages{several}, split exactly to {worst:.0e}"


def _check_gradients(subject: "BackboneSubject") -> str:
    model, images, stages = subject.model, subject.images, subject.stages
    unreached = without_gradient(model, images)
    lost = [variable for variable in unreached if matters(model, variable, images, subject.features)]
    if lost:
        raise RuleError(
            f"none reaches {names(lost)}, and the features depend on it.",
            "Look for stop_gradient, rounding and comparisons on the way.",
        )
    reached = f"all {len(model.trainable_variables) - len(unreached)} trainable variables"
    if unreached:
        reached += f" ({len(unreached)} more are used for nothing)"
    cut = stages[max(0, len(stages) - 2)]  # the shortest tail, to be quick
    prefix, tail = split_model(model, cut)
    if tail is None or prefix is None:
        return reached
    unused = {id(variable) for variable in unreached}
    cut_off = [item for item in without_gradient(tail, outputs_of(prefix, images)) if id(item) not in unused]
    if cut_off:
        raise RuleError(f"split at {cut.name}, none reaches {names(cut_off)}.", "Let layers depend on inputs alone.")
    return f"{reached}; behind {cut.name} {len(tail.trainable_variables)}"


CUTS = Rule(
    "cuts", "Split at any stage, prefix and tail compute what the whole does and share its weights.", _check_cuts
)
GRADIENTS = Rule("gradients", "A gradient reaches every weight that the features depend on.", _check_gradients)
