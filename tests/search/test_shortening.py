"""The first fine-tune under a budget: as long as there is time for."""

import pytest

from autotl.search.forecast import Forecast, Speed
from autotl.search.shortening import shortened
from autotl.space.schema import SearchSpace, Stage

CONFIG = {
    "backbone": "net", "image_size": 100, "recipe": "finetune", "freeze_depth": 0.67, "epochs": 12,
}  # fmt: skip
LIGHT = {**CONFIG, "augmentation": "light"}


def stage_of(*augmentations):
    parameters = {"augmentation": {"choice": list(augmentations)}} if augmentations else {}
    values = {"name": "tune", "recipe": "finetune", "trials": 1, "evaluation": "cross_validation", "folds": 3}
    return Stage.model_validate({**values, "parameters": parameters})


@pytest.fixture
def timed(make_context):
    """A budget of 1000 s, a network that takes 10 ms an image, 1000 images and 500 to test."""
    context = make_context(SearchSpace(stages=(stage_of(),)), budget=1000.0)
    context.forecast = Forecast({"net": Speed(0.01, 100, (0.8, 0.2, 0.0))}, 1000, 500)
    return context


@pytest.mark.parametrize(
    ("elapsed", "deadline", "changes"),
    [
        (0, 1000, {}), (800, 1000, {"epochs": 11}), (900, 1000, {"epochs": 3}), (910, 1000, None),
        (0, 60, {"epochs": 4}), (0, 30, None),
    ],
)  # fmt: skip
def test_it_has_the_epochs_that_it_and_its_last_fit_have_time_for(timed, elapsed, deadline, changes):
    timed.started -= elapsed
    assert shortened(timed, stage_of(), CONFIG, deadline) == changes  # 21 + 8 s for each, and 35 + 4.6 at the end


def test_what_does_not_say_how_many_epochs_it_has_can_be_shortened_too(timed):
    timed.started -= 800
    unsaid = {name: value for name, value in CONFIG.items() if name != "epochs"}
    assert shortened(timed, stage_of(), unsaid, 1000) == {"epochs": 11}


def test_where_time_is_short_fresh_views_give_way_to_cached_ones_if_the_stage_has_them(timed):
    stage = stage_of("flip", "light")
    assert shortened(timed, stage, LIGHT, 1000) == {}
    timed.started -= 700
    assert shortened(timed, stage, LIGHT, 1000) == {"augmentation": "flip", "epochs": 12}
    (name, value), *others = shortened(timed, stage_of("light", "strong"), LIGHT, 1000).items()
    assert name == "epochs" and value < 12 and not others
