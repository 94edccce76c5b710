"""A comparison of two networks through the public interface, with a Ctrl-C in the middle."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotl import api
from autotl.data.manifest import Manifest
from autotl.errors import Interrupted
from autotl.runs.directory import Run, open_run
from autotl.runs.events import read_events
from autotl.runs.files import read_json

pytestmark = [pytest.mark.keras, pytest.mark.slow]
NETWORKS = ("efficientnet-lite0", "vgg16:random")
LEVELS = ("frozen", "partly", "full")
NUMBERS = (3, 4, 5, 6, 7)  # of the fits; the first two jobs time the networks


@pytest.fixture(scope="module")
def compared(draw_noise: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The comparison, stopped after its first row and gone on with by the same call."""
    folder = tmp_path_factory.mktemp("compare")
    images = draw_noise(folder / "noise", (14, 14, 14), tint=60)
    ended: list[dict[str, Any]] = []

    def compare(on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        return api.compare(
            images, NETWORKS, levels=LEVELS, image_size=32, epochs=1, rates=[1e-3], seed=3, executor="inline",
            out=folder / "run", cache_dir=folder / "cache", on_event=on_event,
        )  # fmt: skip

    def stop_after_one(event: dict[str, Any]) -> None:
        if event["event"] == "trial":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="the same command"):
        compare(stop_after_one)
    result = compare(lambda event: ended.append(event) if event["event"] == "trial" else None)
    return SimpleNamespace(result=result, run=open_run(folder / "run"), ended=ended, again=compare)


def test_every_row_is_right_about_its_weights(compared: SimpleNamespace) -> None:
    rows = compared.result["rows"]
    assert [(row["label"], row["weights"], row["pretrained_on"], row["level"]) for row in rows] == [
        ("efficientnet-lite0", "pretrained", "ImageNet-1k", "frozen"),
        ("efficientnet-lite0", "pretrained", "ImageNet-1k", "partly"),
        ("efficientnet-lite0", "pretrained", "ImageNet-1k", "full"),
        ("vgg16", "random", None, "frozen"),
        ("vgg16", "random", None, "full"),
    ]
    fitted = [read_json(compared.run.trial_dir(number) / "config.json") for number in NUMBERS]
    *pretrained, settled, scratch = [config["weights"] for config in fitted]
    assert (pretrained, scratch) == (["pretrained"] * 3, "random")
    assert Path(settled).name.startswith("random-")  # drawn here, its statistics those of the images
    assert [config["freeze_depth"] for config in fitted] == [1.0, 0.5, 0.0, 1.0, 0.0]
    assert [config["recipe"] for config in fitted] == ["probe", "finetune", "finetune", "probe", "scratch"]


def test_rows_are_scored_on_the_test_images_that_none_was_fitted_to(compared: SimpleNamespace) -> None:
    manifest = Manifest.read(compared.run.manifest_path)
    held_out = manifest.rows("val")
    assert compared.result["images"] == {"train": len(manifest.samples) - len(held_out), "test": len(held_out)}
    for number, row in zip(NUMBERS, compared.result["rows"], strict=True):
        config = read_json(compared.run.trial_dir(number) / "config.json")
        assert config["held_out"] == held_out.tolist()
        assert not set(config["rows"]) & set(config["held_out"])
        probabilities, labels = left_by(compared.run, number)
        np.testing.assert_array_equal(labels, manifest.labels()[held_out])
        assert row["test"]["accuracy"] == pytest.approx((probabilities.argmax(axis=1) == labels).mean())


def left_by(run: Run, number: int) -> tuple[np.ndarray, np.ndarray]:
    (path,) = run.trial_dir(number).glob("attempt-*/fit.npz")  # it was fitted once
    with np.load(path) as saved:
        return saved["probabilities"], saved["labels"]


def test_a_row_says_what_was_trained_and_what_it_cost(compared: SimpleNamespace) -> None:
    frozen, partly, full, _, scratch = (row["trained_parameters"] for row in compared.result["rows"])
    assert frozen == 1280 * 3 + 3 < partly < full
    assert scratch == 14_714_688 + 512 * 3 + 3
    for row in compared.result["rows"]:
        assert row["multiply_adds"] > 0 and row["milliseconds"] > 0 and row["fit_seconds"] > 0


def test_it_goes_on_where_it_was_stopped(compared: SimpleNamespace) -> None:
    assert [event["kind"] for event in read_events(compared.run) if event["kind"] in ("interrupted", "resumed")] == [
        "interrupted", "resumed",
    ]  # fmt: skip
    asked = [event["number"] for event in read_events(compared.run) if event["kind"] == "asked"]
    assert sorted(asked) == [1, 2, *NUMBERS, 8]  # the last one draws random weights


def test_a_comparison_that_has_ended_is_read_and_not_repeated(compared: SimpleNamespace) -> None:
    events: list[dict[str, Any]] = []
    assert compared.again(events.append) == compared.result
    assert events == []


def test_the_files_of_the_table_and_the_plot_are_in_the_run(compared: SimpleNamespace) -> None:
    files = compared.result["files"]
    assert "| vgg16 | random | frozen |" in Path(files["table"]).read_text()
    assert Path(files["plot"]).read_text().startswith("<svg") and Path(files["csv"]).exists()
    assert any("began with random weights" in sentence for sentence in compared.result["conclusion"])
