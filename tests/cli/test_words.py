import pytest

from autotl.cli.words import brief, configuration, duration, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(12, "12"), (1234, "1.2 k"), (3_400_000, "3.4 M"), (2e9, "2.0 G")])
def test_sizes(count, text):
    assert size(count) == text


def test_configurations_in_words():
    probe = {"recipe": "probe", "backbone": "b0", "image_size": 224, "pooling": "both", "head": "linear",
             "penalty": 1e-4, "augmentation": "flip", "freeze_depth": 1.0}  # fmt: skip
    assert configuration(probe) == (
        "b0 at 224 px, frozen, average and max pooling, linear head with penalty 0.0001, flipped views"
    )
    assert brief(probe) == "b0 224 both linear flip penalty 0.0001"
    finetune = {**probe, "recipe": "finetune", "freeze_depth": 0.6, "head": "mlp", "width": 256, "depth": 2,
                "head_rate": 1e-3, "tail_rate": 1e-4, "augmentation": "none"}  # fmt: skip
    assert configuration(finetune) == (
        "b0 at 224 px, fine-tuned with the first 60 % frozen, average and max pooling, MLP head (2 x 256 units), "
        "no augmentation"
    )
    assert brief(finetune) == "b0 224 freeze 0.6 both mlp none rates 0.001/0.0001"


def test_a_configuration_with_nothing_in_it_has_words_too():
    assert configuration({}) and brief({}) == ""


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("vgg16", "vgg16"),
        ("/home/me/my-network.keras?normalisation=unit", "my-network"),
        ("/data/runs/birds-2026/model", "birds-2026"),
        ("/data/runs/birds-2026", "birds-2026"),
        ("kerashub:/presets/my-vit", "kerashub:my-vit"),
        ("my_models:MyHyperModel", "my_models:MyHyperModel"),
    ],
)
def test_a_network_of_your_own_is_called_by_its_file_or_run(reference, shown):
    assert brief({"backbone": reference}) == shown
    assert configuration({"backbone": reference}).startswith(f"{shown} at")
