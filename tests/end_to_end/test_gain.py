"""Transfer gain through the public interface: stopped, gone on with, and a harmful network that is found out."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotl import api
from autotl.data.manifest import Manifest
from autotl.errors import Interrupted, UsageError
from autotl.runs.directory import open_run
from autotl.runs.files import read_json
from autotl.studies.gain_plan import RATES

pytestmark = [pytest.mark.keras, pytest.mark.slow]
ARMS = ("frozen", "tuned", "scratch", "random")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, draw_noise: Callable[..., Path]) -> SimpleNamespace:
    """Three tints of noise, and a network that has unlearnt to see: its last kernels are nought."""
    import keras

    folder = tmp_path_factory.mktemp("gain")
    images = draw_noise(folder / "noise", (20, 20, 20), tint=60)
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    seen = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(image)))
    blind = layers.Conv2D(8, 3, strides=2, name="blind")
    network = keras.Model(image, layers.ReLU()(blind(seen)))
    blind.set_weights([np.zeros_like(blind.get_weights()[0]), np.ones(8, np.float32)])
    network.save(folder / "blind.keras")

    def gain(out: str, **options: Any) -> dict[str, Any]:
        asked = {"per_class": [2], "draws": 2, "epochs": 2, "image_size": 32, **options}
        where = {"out": folder / out, "cache_dir": folder / "cache", "executor": "inline"}
        return api.gain(images, backbone=f"{folder / 'blind.keras'}?normalisation=unit", **asked, **where)

    return SimpleNamespace(folder=folder, gain=gain)


@pytest.fixture(scope="module")
def measured(place: SimpleNamespace) -> SimpleNamespace:
    """The measurement, stopped after its third fit and gone on with by the same call."""
    told: list[dict[str, Any]] = []

    def stop_after_three(event: dict[str, Any]) -> None:
        told.append(event)
        if sum(one["event"] == "trial" for one in told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="the same command"):
        place.gain("run", on_event=stop_after_three)
    return SimpleNamespace(result=place.gain("run"), run=open_run(place.folder / "run"))


def test_all_arms_fit_to_the_same_draws_and_are_scored_on_the_test_images(measured: SimpleNamespace) -> None:
    few, everything = measured.result["tiers"]
    assert (few["per_class"], few["images"], few["draws"]) == (2, 6, 2)
    assert (everything["per_class"], everything["images"]) == (None, measured.result["images"]["train"])
    manifest = Manifest.read(measured.run.manifest_path)
    fits = [read_json(path) for path in sorted(measured.run.path.glob("trials/*/config.json"))]
    by_arm = {arm: [fit["rows"] for fit in fits if fit.get("stage") == arm] for arm in ARMS}
    assert by_arm["frozen"] == by_arm["tuned"] == by_arm["scratch"] == by_arm["random"]
    assert len(by_arm["frozen"]) == 3
    held_out = {tuple(fit["held_out"]) for fit in fits if fit.get("stage") in ARMS}
    assert held_out == {tuple(manifest.rows("val"))}
    tuned_on = [fit for fit in fits if fit.get("stage") == "tune"]
    assert not any(set(fit["held_out"]) & set(manifest.rows("val")) for fit in tuned_on)
    tries = [(fit["recipe"], fit["head_rate"]) for fit in tuned_on]
    assert sorted(tries) == [(recipe, rate) for recipe in ("finetune", "scratch") for rate in RATES]


def test_a_network_that_does_harm_is_found_out(measured: SimpleNamespace) -> None:
    everything = measured.result["tiers"][-1]
    assert everything["arms"]["frozen"]["accuracy"] < everything["arms"]["random"]["accuracy"]
    named = [found for found in measured.result["negative"] if found["arm"] == "frozen" and found["over"] == "random"]
    assert named and all(found["points_ci95"][1] < 0 for found in named)
    assert any(sentence.startswith("Negative transfer with all") for sentence in measured.result["conclusion"])


def test_it_leaves_a_table_and_a_plot_and_is_only_read_again(place: SimpleNamespace, measured: SimpleNamespace) -> None:
    files = measured.result["files"]
    assert "Negative transfer" in Path(files["table"]).read_text()
    assert Path(files["plot"]).read_text().count("from scratch") == 1
    Path(files["plot"]).unlink()
    again = place.gain("run", on_event=lambda event: pytest.fail(f"worked again: {event}"))
    assert again == measured.result and Path(files["plot"]).exists()
    with pytest.raises(UsageError, match="draws was 2 and is 3"):
        place.gain("run", draws=3)
