"""Which of the many places of a network are worth offering as freeze depths."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from autotl.backbones.graph import weights_of
from autotl.backbones.places import Place, single

MAX_REGULAR_STAGES = 12
EARLIER, LATER = 0.2, 0.1


def choose_stages(places: Sequence[Place]) -> list[Place]:
    """The ends of stages, in order, each with more parameters before it than the last.

    Args:
        places: all of a network's, of which at least one with parameters has a single live tensor.
    """
    trained = [place for place in places if place.parameters > 0 and place.is_splittable]
    straight = single(trained)
    if {place.octave for place in trained} - {place.octave for place in straight}:
        stages = _cheapest_at_each_change(trained)
    else:
        stages = _single_stages(straight)
    stages.append(straight[-1])
    return [one for one, next_ in pairwise(stages) if one.parameters < next_.parameters] + [straight[-1]]


def _single_stages(places: Sequence[Place]) -> list[Place]:
    ends = [number for number, (one, next_) in enumerate(pairwise(places)) if one.octave != next_.octave]
    if len(ends) > 1:
        return [_narrowest(places, end) for end in ends]
    # at most a patch embedding before one trunk
    return [*(places[end] for end in ends), *_regular(places[ends[0] + 1 :] if ends else places)]


def _cheapest_at_each_change(places: Sequence[Place]) -> list[Place]:
    """Near each change of resolution the place that keeps fewest numbers, whatever the number of tensors.

    The resolution changes when the last tensor of the finer one is done with. "Near" is within a share of the stages on
    both sides, by parameters: rather one call too early or too late than a store that is several times larger.
    """
    changes = [one.parameters for one, next_ in pairwise(places) if one.octave != next_.octave]
    bounds = [0, *changes, places[-1].parameters]
    stages = []
    for before, change, after in zip(bounds, bounds[1:], bounds[2:], strict=False):
        low, high = change - EARLIER * (change - before), change + LATER * (after - change)
        stages.append(_cheapest([place for place in places if low <= place.parameters <= high]))
    return stages


def _narrowest(places: Sequence[Place], end: int) -> Place:
    """The smallest tensor around the change of resolution after `end`, the latest of equals."""
    around: list[Place] = [places[end]]
    kernels = 0
    for number in range(end, 0, -1):  # back along the straight run of the same resolution
        before, here = places[number - 1], places[number]
        straight = [id(tensor) for tensor in here.node.input_tensors] == [id(before.tensors[0])]
        kernels += any(len(weight.shape) > 1 for weight in weights_of(here.node.operation))
        # past one kernel, the expansion of the next block; more of them are blocks of this stage
        if not straight or before.octave != here.octave or kernels > 1:
            break
        around.insert(0, before)
    for later in places[end + 1 :]:  # on, past pooling and the like, which costs no trainable tail
        if later.parameters != places[end].parameters:
            break
        around.append(later)
    return _cheapest(around)


def _cheapest(places: Sequence[Place]) -> Place:
    """The one that keeps fewest numbers, the latest of equals."""
    cheapest: Place = min(reversed(places), key=lambda place: place.elements)
    return cheapest


def _regular(trunk: Sequence[Place]) -> list[Place]:
    """Evenly spaced ends of blocks, or evenly spaced cuts in a trunk that has none."""
    blocks = _blocks(trunk)
    count = min(MAX_REGULAR_STAGES, len(blocks))
    return [blocks[round((number + 1) * len(blocks) / count) - 1] for number in range(count)]


def _blocks(trunk: Sequence[Place]) -> list[Place]:
    """The ends of residual blocks, else the calls of the class of layer that holds most of the weights."""
    added = [place for place in trunk if type(place.node.operation).__name__ == "Add"]
    if len(added) > 1:
        return added
    weights: Counter[str] = Counter()
    for before, place in pairwise(trunk):
        weights[type(place.node.operation).__name__] += place.parameters - before.parameters
    for kind, _ in weights.most_common(1):
        repeated = [place for place in trunk if type(place.node.operation).__name__ == kind]
        if len(repeated) > 1:
            return repeated
    return list(trunk)
