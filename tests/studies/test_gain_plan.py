"""What a measurement of transfer gain holds equal, and what it refuses."""

import pytest

from autotl.errors import UsageError
from autotl.runs.directory import create_run
from autotl.runs.files import write_json
from autotl.studies.gain_plan import ARMS, Request, config_of, draws_of, epochs_of, plan

VARIES = {"recipe", "weights", "freeze_depth", "augmentation", "batch_size", "epochs", "head_rate", "tail_rate"}
BEST = {"backbone": "efficientnet-lite1", "image_size": 96, "recipe": "finetune", "pooling": "gem", "taps": "all"}


@pytest.fixture
def finished(tmp_path):
    run = create_run(tmp_path / "run", {"dataset": "photos", "space": "quick", "seed": 7})
    write_json(run.result_path, {"best": BEST})
    return run


def test_a_run_gives_its_images_seed_network_size_and_pooling(finished):
    asked, network = plan(Request(None, run=str(finished.path)))
    assert (asked["dataset"], asked["seed"], asked["transfers_by"]) == ("photos", 7, "tuned")
    assert (network.backbone.name, network.image_size, network.pooling, network.taps) == (
        "efficientnet-lite1", 96, "gem", "all",
    )  # fmt: skip
    assert plan(Request("others", run=str(finished.path), seed=3))[0]["seed"] == 3


def test_arms_differ_in_weights_and_training_alone():
    _, network = plan(Request("photos", backbone="efficientnet-lite0", image_size=64))
    configs = {arm: config_of(network, arm, 4, 1e-3, "file.weights.h5") for arm in ARMS}
    assert {arm: config["weights"] for arm, config in configs.items()} == {
        "frozen": "pretrained", "tuned": "pretrained", "scratch": "random", "random": "file.weights.h5",
    }  # fmt: skip
    same = [{name: value for name, value in config.items() if name not in VARIES} for config in configs.values()]
    assert same == [same[0]] * len(ARMS)
    tuned, scratch = configs["tuned"], configs["scratch"]
    assert {**tuned, "recipe": 0, "weights": 0} == {**scratch, "recipe": 0, "weights": 0}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(None), "give DATASET, or --run"),
        (Request("photos", per_class=(0, 5)), "whole numbers from 1 on"),
        (Request("photos", draws=0), "draws must be at least 1"),
        (Request("photos", run="somewhere", backbone="vgg16"), "give one of them"),
        (Request("photos", backbone="vgg16"), "backbones fetch vgg16"),
        (Request("photos", backbone="efficientnet-lite0", image_size=3), "efficientnet-lite0"),
    ],
)
def test_what_cannot_be_meant_is_refused(request_, words):
    with pytest.raises(UsageError, match=words):
        plan(request_)


def test_an_unfinished_search_is_refused(finished):
    finished.result_path.unlink()
    with pytest.raises(UsageError, match="has no result"):
        plan(Request(None, run=str(finished.path)))


def test_few_images_are_seen_more_often_and_drawn_more_often():
    request = {"epochs": 8, "draws": 3}
    assert [epochs_of(request, images) for images in (12, 60, 300, 986)] == [40, 25, 8, 8]
    assert [draws_of(request, images) for images in (12, 120, 300, 986)] == [3, 3, 2, 1]
