"""Fine-tuning behind gates, with everything that a space can vary of it; and the soup of those that were confirmed."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import autotl
from autotl.runs.directory import open_run
from autotl.runs.events import read_events
from autotl.runs.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]
SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 1
evaluation = "cross_validation"
folds = 2
[stage.parameters]
backbone = { choice = ["vgg16"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
penalty = { choice = [10.0] } # a head that knows nothing but how frequent each class is

[[stage]]
name = "calm"
recipe = "finetune"
trials = 4
gate = true
evaluation = "cross_validation"
folds = 2
epochs = 4
[stage.parameters]
freeze_depth = { choice = [0.8] }
batch_size = { choice = [16] }
head_rate = { log = [5e-3, 1e-2] }
tail_rate = { log = [1e-5, 3e-5] }
layer_decay = { choice = [0.7, 1.0] }
mixup = { choice = [0.0, 0.2] }
ema = { choice = ["off", "on"] }
balance = { choice = ["none", "weights", "sampling"] }
[[stage.first]]
head_rate = 5e-3
tail_rate = 1e-5
layer_decay = 1.0
mixup = 0.0
ema = "off"
balance = "none"
[[stage.first]]
head_rate = 8e-3
tail_rate = 1e-5
layer_decay = 0.7
mixup = 0.2
ema = "on"
balance = "weights"
[[stage.first]]
head_rate = 5e-3
tail_rate = 2e-5
layer_decay = 1.0
mixup = 0.0
ema = "off"
balance = "sampling"
[[stage.first]] # so like the second that both are worth a second look
head_rate = 9e-3
tail_rate = 1e-5
layer_decay = 0.7
mixup = 0.2
ema = "on"
balance = "weights"

[[stage]]
name = "wild"
recipe = "finetune"
trials = 3
gate = true
evaluation = "cross_validation"
folds = 2
epochs = 2
[stage.parameters]
freeze_depth = { choice = [0.8] }
batch_size = { choice = [16] }
head_rate = { choice = [100.0] }
tail_rate = { choice = [100.0] }
[[stage.first]]
head_rate = 100.0
tail_rate = 100.0
"""


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory, workplace: Path, draw_noise: Callable[..., Path]
) -> SimpleNamespace:
    """A search on three classes of noise, of which one is rarer; and what its run directory says."""
    root = tmp_path_factory.mktemp("soup")
    draw_noise(root / "images", (24, 24, 12), tint=40)
    (root / "gates.toml").write_text(SPACE)
    cache = workplace / "noise-cache"
    options = {"space": root / "gates.toml", "out": root / "run", "cache_dir": cache, "executor": "inline"}
    result = autotl.search(root / "images", **options)
    run = open_run(result.run)
    events = list(read_events(run))
    trials = [event for event in events if event["kind"] == "trial"]
    return SimpleNamespace(result=result, run=run, trials=trials, events=events)


def of_stage(found, name):
    return [trial for trial in found.trials if trial["stage"] == name]


def test_the_gate_shuts_on_a_fine_tuning_that_is_surely_worse_and_opens_for_one_that_may_be_better(found):
    opened, shut = [event for event in found.events if event["kind"] == "gate"]
    assert (shut["passed"], opened["passed"]) == (False, True)
    assert shut["high"] < 0.01 <= opened["high"]
    assert len(of_stage(found, "wild")) == 1
    assert len(of_stage(found, "calm")) == 4


def test_what_the_space_varies_reaches_the_trials(found):
    calm = [trial["config"] for trial in of_stage(found, "calm")]
    assert [trial["state"] for trial in of_stage(found, "calm")] == ["complete"] * 4
    assert [config["balance"] for config in calm[:3]] == ["none", "weights", "sampling"]
    assert [config["ema"] for config in calm[:3]] == ["off", "on", "off"]
    assert [(config["layer_decay"], config["mixup"]) for config in calm[:3]] == [(1.0, 0.0), (0.7, 0.2), (1.0, 0.0)]
    assert len({trial["score"] for trial in of_stage(found, "calm")}) == 4


def test_trials_that_differ_in_numbers_alone_compile_nothing(found):
    first, *others = [trial["ledger"]["counts"] for trial in found.trials if trial["stage"] in ("wild", "calm")]
    assert first["traces"] > 0
    assert len(others) == 4
    assert not any("traces" in counts for counts in others)


def test_the_weights_of_the_confirmed_fine_tunes_are_averaged_and_compared_with_the_best_of_them(found):
    confirmed = [event["number"] for event in found.events if event["kind"] == "confirm"]
    fine_tuned = {trial["number"] for trial in of_stage(found, "calm")}
    (chosen,) = [event for event in found.events if event["kind"] == "chosen"]
    assert chosen["number"] in fine_tuned
    (soup,) = [event for event in found.events if event["kind"] == "soup"]
    assert soup["members"][0] == chosen["number"]
    assert set(soup["members"]) <= set(confirmed) & fine_tuned
    assert 0.0 <= soup["chance"] <= 1.0
    description = read_json(found.result.model / "autotl.json")
    is_kept = len(soup["members"]) > 1 and soup["chance"] >= 0.95
    assert description.get("soup") == (len(soup["members"]) if is_kept else None)
    assert description["parity"]["passed"]


def test_the_ledger_has_every_image_that_was_trained_on(found):
    counts = found.result.values["counts"]
    assert counts["trained/block4_pool"] == counts["images_trained"] > 0
    assert counts["forwarded/block4_pool"] == counts["forwarded/pooled"]  # the frozen stages run once
    assert found.result.values["work"]["stages"]["calm"]["cost_units"] > 0.0
