from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from autotl.heads.builtin import COSINE, LINEAR, MLP
from autotl.heads.contract import Head
from autotl.testing import BrokenRule, check_head

pytestmark = pytest.mark.keras

Build = Callable[[int, int, Mapping[str, Any]], Any]


def head(change: Callable[[Any], Any] = lambda x: x, *, units: int = 16) -> Head:
    """A small head that keeps the contract; `change` acts on its logits."""

    def build(features: int, classes: int, options: Mapping[str, Any]) -> Any:
        import keras

        inputs = keras.Input((features,))
        hidden = keras.layers.Dense(options["units"], activation="relu")(inputs)
        return keras.Model(inputs, change(keras.layers.Dense(classes)(hidden)))

    return Head("small", build, {"units": {"integer": [4, 32]}}, {"units": units})


@pytest.mark.parametrize("good", [LINEAR, MLP, COSINE], ids=lambda head: head.name)
def test_the_built_in_heads_keep_the_contract(good: Head) -> None:
    found = {check.name: check.found for check in check_head(good).checks}
    assert list(found) == [
        "record", "import", "build", "logits", "repeatable", "gradients", "learning", "saving",
    ]  # fmt: skip
    assert found["import"].startswith("autotl.heads.builtin loads none of keras")
    assert found["learning"].startswith("100% right")


def test_a_head_is_built_at_both_ends_of_each_option() -> None:
    asked: list[int] = []
    small = head()

    def build(features: int, classes: int, options: Mapping[str, Any]) -> Any:
        asked.append(options["units"])
        return small.build(features, classes, options)

    found = {check.name: check.found for check in check_head(replace(small, build=build)).checks}
    assert {4, 16, 32} == set(asked)
    assert found["record"] == "options: units 4 to 32, whole"
    assert found["build"].startswith("built 5 times")


def test_a_hypermodel_is_a_head_too(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from autotl.heads.hypermodel import head_from_hypermodel

    (tmp_path / "hyper_head_to_check.py").write_text(
        "def build(hp, inputs):\n"
        "    import keras\n"
        "    return keras.layers.Dense(hp.Int('units', 8, 32), activation='relu')(inputs)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert check_head(head_from_hypermodel("hyper", "hyper_head_to_check:build")).name == "hyper"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"api_version": 2}, "record: .*api_version 2"),
        ({"defaults": {}}, "units has no default"),
        ({"defaults": {"units": 64}}, "not in its range"),
        ({"options": {"units": {"between": [4, 32]}}}, "written as in a space file"),
        ({"options": {}}, "is no option"),
    ],
)
def test_a_record_that_cannot_be_searched_fails(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BrokenRule, match=message):
        check_head(replace(head(), **changes))


def test_what_is_no_record_fails() -> None:
    with pytest.raises(BrokenRule, match=r"A plugin publishes a Head\. Found: a str"):
        check_head("head")  # type: ignore[arg-type]


def test_probabilities_in_place_of_logits_fail() -> None:
    import keras

    with pytest.raises(BrokenRule, match=r"sums to 1: probabilities\. Leave the softmax out"):
        check_head(head(keras.layers.Softmax()))


def test_another_number_of_outputs_fails() -> None:
    import keras

    with pytest.raises(BrokenRule, match=r"for 24 features and 3 classes it takes \(None, 24\) and gives \(None, 7\)"):
        check_head(head(keras.layers.Dense(7)))


def test_an_end_of_a_range_that_cannot_be_built_fails() -> None:
    with pytest.raises(BrokenRule, match=r"build: .*it raised ValueError"):
        check_head(replace(head(), options={"units": {"integer": [0, 32]}}))


def test_logits_that_are_not_finite_fail() -> None:
    import keras

    with pytest.raises(BrokenRule, match="finite"):
        check_head(head(keras.ops.log))


def test_a_lambda_layer_fails() -> None:
    import keras

    with pytest.raises(BrokenRule, match="Lambda"):
        check_head(head(keras.layers.Lambda(lambda x: x * 2.0, output_shape=lambda shape: shape)))


def test_a_layer_that_cannot_be_loaded_safely_fails() -> None:
    import keras

    class Unregistered(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2.0 * x

    with pytest.raises(BrokenRule, match="register_keras_serializable"):
        check_head(head(Unregistered()))


def test_a_layer_that_forgets_a_part_of_itself_fails() -> None:
    import keras

    @keras.saving.register_keras_serializable(package="test_head")
    class Forgetful(keras.layers.Layer):
        def __init__(self, factor: float = 1.0, **options: Any) -> None:
            super().__init__(**options)
            self.factor = factor

        def call(self, x: Any) -> Any:
            return self.factor * x

        def get_config(self) -> dict[str, Any]:
            return {name: value for name, value in super().get_config().items() if name != "factor"}

    with pytest.raises(BrokenRule, match="the loaded model computes something else"):
        check_head(head(Forgetful(2.0)))


def test_a_head_that_looks_at_the_whole_batch_fails() -> None:
    import keras

    with pytest.raises(BrokenRule, match="depend on its batch"):
        check_head(head(lambda x: x - keras.ops.mean(x, axis=0, keepdims=True)))


def test_a_weight_that_training_does_not_reach_fails() -> None:
    import keras

    def change(x: Any) -> Any:
        return x + keras.ops.stop_gradient(keras.layers.Dense(x.shape[-1], name="asleep")(x))

    with pytest.raises(BrokenRule, match=r"gradients: .*asleep/kernel"):
        check_head(head(change))


def test_a_head_that_does_not_learn_fails() -> None:
    with pytest.raises(BrokenRule, match=r"learning: .*right with loss 1\.1 at rate 0\.1"):
        check_head(head(lambda x: 1e-7 * x[:, ::-1] + 0.0 * x))
