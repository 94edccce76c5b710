"""Properties of cuts that hold for any network, on random small ones."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotl.backbones.cuts import Cut, find_cuts, split_model, stage_cuts

pytestmark = pytest.mark.keras

SIZE = 8
KINDS = ("conv", "down", "add", "concatenate", "shared_relu", "nested", "gate", "halves")
# Each step is a kind of call and two numbers that choose what it reads among what there is.
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 20), st.integers(0, 20)), min_size=2, max_size=9)
FEW = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Builder:
    """Grows a network call by call; everything has two channels, and what nothing reads is read by the end."""

    def __init__(self, networks: SimpleNamespace) -> None:
        import keras

        self.networks = networks
        self.layers = keras.layers
        self.relu = keras.layers.ReLU()
        self.image = networks.image(SIZE)
        self.tensors = [networks.conv(2, "stem")(self.image)]
        self.unread = {0}
        self.count = 0

    def pick(self, number: int) -> Any:
        """One of the last four tensors: then networks are deep, and some places have a single live tensor."""
        position = len(self.tensors) - 1 - number % min(4, len(self.tensors))
        self.unread.discard(position)
        return self.tensors[position]

    def conv(self, strides: int = 1) -> Any:
        self.count += 1
        return self.networks.conv(2, f"conv{self.count}", strides)

    def grow(self, kind: str, one: int, other: int) -> None:
        x = self.pick(one)
        if kind == "conv":
            made = [self.conv()(x)]
        elif kind == "down":
            made = [self.conv(strides=2)(x)]
        elif kind == "add":
            made = [self.layers.Add()(self.alike(x, self.pick(other)))]
        elif kind == "concatenate":
            made = [self.conv()(self.layers.Concatenate()(self.alike(x, self.pick(other))))]
        elif kind == "shared_relu":
            made = [self.relu(x)]
        elif kind == "nested":
            made = [self.nested(x)]
        elif kind == "gate":
            made = [x * self.layers.GlobalAveragePooling2D(keepdims=True)(x) / 100.0]
        else:
            import keras

            left, right = keras.ops.split(x, 2, axis=-1)
            made = [self.conv()(left), self.conv()(right)]
        for tensor in made:
            self.unread.add(len(self.tensors))
            self.tensors.append(tensor)

    def alike(self, one: Any, other: Any) -> list[Any]:
        """The same two, the larger one pooled to the resolution of the smaller."""
        side = min(one.shape[1], other.shape[1])
        return [
            tensor
            if tensor.shape[1] == side
            else self.layers.MaxPooling2D(tensor.shape[1] // side, padding="same")(tensor)
            for tensor in (one, other)
        ]

    def nested(self, x: Any) -> Any:
        import keras

        inside = keras.Input(x.shape[1:])
        return keras.Model(inside, inside + self.conv()(self.relu(inside)), name=f"nested{self.count}")(x)

    def finish(self) -> Any:
        import keras

        x, *others = [self.tensors[position] for position in sorted(self.unread)]
        for other in others:
            x = self.layers.Add()(self.alike(x, other))
        return keras.Model(self.image, x)


def build(networks: SimpleNamespace, steps: list[tuple[str, int, int]]) -> Any:
    builder = Builder(networks)
    for step in steps:
        builder.grow(*step)
    return builder.finish()


@FEW
@given(steps=STEPS)
def test_every_offered_cut_splits_exactly_and_freezes_more_than_the_last(
    networks: SimpleNamespace, steps: list[tuple[str, int, int]]
) -> None:
    model = build(networks, steps)
    everything = {id(variable) for variable in model.variables}
    cuts, stages = find_cuts(model), stage_cuts(model)
    assert all(one.frozen_fraction <= other.frozen_fraction for one, other in pairwise(cuts))
    assert all(one.frozen_fraction < other.frozen_fraction for one, other in pairwise(stages))
    assert stages[-1].frozen_fraction == 1.0
    networks.assert_splits_equal_whole(model, sorted({*cuts, *stages}, key=lambda cut: cut.index), SIZE)
    for cut in stages[:-1]:
        prefix, tail = split_model(model, cut)
        frozen, trained = ({id(variable) for variable in part.variables} for part in (prefix, tail))
        assert not frozen & trained
        assert frozen | trained == everything


@FEW
@given(steps=STEPS, choice=st.integers(0, 100))
def test_a_network_can_be_split_behind_any_of_its_calls(
    networks: SimpleNamespace, steps: list[tuple[str, int, int]], choice: int
) -> None:
    from autotl.backbones.graph import flatten
    from autotl.backbones.places import find_places

    model = build(networks, steps)
    places = [place for place in find_places(flatten(model)) if place.is_splittable]
    place = places[choice % len(places)]
    shapes = [tuple(tensor.shape[1:]) for tensor in place.tensors]
    cut = Cut(
        name=place.names[-1],
        index=place.position,
        shape=shapes[0] if len(shapes) == 1 else (sum(int(np.prod(shape)) for shape in shapes),),
        frozen_fraction=0.0,
        beside=place.names[:-1],
    )
    networks.assert_splits_equal_whole(model, [cut], SIZE)


@FEW
@given(
    shapes=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=4), seed=st.integers(0, 9)
)
def test_unpacking_is_the_inverse_of_packing(shapes: list[list[int]], seed: int) -> None:
    from autotl.backbones.cuts import pack, unpack

    random = np.random.default_rng(seed)
    tensors = [random.normal(size=(3, *shape)).astype("float32") for shape in shapes]
    packed = pack(tensors)
    if len(tensors) > 1:
        assert tuple(packed.shape) == (3, sum(tensor[0].size for tensor in tensors))
    for tensor, again in zip(tensors, unpack(packed, tensors), strict=True):
        np.testing.assert_array_equal(tensor, again)
