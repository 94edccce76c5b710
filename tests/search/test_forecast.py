"""How long things will take, from the seconds of an image."""

from dataclasses import replace

import pytest

from autotl.search.expectation import expected_seconds
from autotl.search.forecast import TAIL_STEP, TRAIN_STEP, Drawer, Forecast, Speed

IMAGES, TEST_IMAGES = 1000, 500
SPEED = Speed(seconds_per_image=0.01, image_size=100, tail_shares=(0.9, 0.5, 0.2, 0.0))


@pytest.fixture
def forecast():
    return Forecast({"net": SPEED}, IMAGES, TEST_IMAGES)


def config(**values):
    return {"backbone": "net", "image_size": 100, "recipe": "probe", **values}


def test_a_pass_costs_the_square_of_the_image_size():
    assert SPEED.forward(200) == pytest.approx(4 * SPEED.forward(100)) == pytest.approx(0.04)


def test_the_tail_is_what_lies_behind_the_cut_that_a_freeze_depth_means():
    assert [SPEED.tail_share(depth) for depth in (0.0, 0.25, 0.5, 0.75, 1.0)] == [1.0, 0.9, 0.5, 0.2, 0.0]


def test_a_probe_pays_for_each_view_once(forecast):
    first = forecast.trial_seconds(config(augmentation="flip"), "cross_validation")
    assert first == pytest.approx(2 * IMAGES * 0.01, rel=0.3)
    forecast.pay(config(augmentation="none"))
    assert forecast.trial_seconds(config(augmentation="flip"), "cross_validation") == pytest.approx(first - 10.0)
    forecast.pay(config(augmentation="flip"))
    assert forecast.trial_seconds(config(augmentation="flip"), "cross_validation") < 5.0
    assert forecast.trial_seconds(config(image_size=200), "cross_validation") > 40.0


def test_fine_tuning_costs_two_forward_steps_of_its_tail_and_three_of_a_whole_network(forecast):
    forecast.pay(config(recipe="finetune", freeze_depth=0.75))
    short = forecast.trial_seconds(config(recipe="finetune", freeze_depth=0.75, epochs=10), "holdout")
    long = forecast.trial_seconds(config(recipe="finetune", freeze_depth=0.75, epochs=20), "holdout")
    assert long - short == pytest.approx(10 * 0.8 * IMAGES * TAIL_STEP * 0.2 * 0.01)
    assert SPEED.step(100, freeze_depth=0.0) == pytest.approx(TRAIN_STEP * 0.01)
    folds = forecast.trial_seconds(config(recipe="finetune", freeze_depth=0.75, epochs=10), "cross_validation", 5)
    assert folds == pytest.approx(5 * short, rel=0.2)


def test_the_end_runs_the_frozen_layers_again_where_augmentation_is_fresh(forecast):
    tuned = config(recipe="finetune", freeze_depth=0.75, epochs=10)
    cached = forecast.finish_seconds({**tuned, "augmentation": "flip"})
    fresh = forecast.finish_seconds({**tuned, "augmentation": "light"})
    assert fresh - cached == pytest.approx(10 * IMAGES * 0.8 * 0.01)
    assert forecast.finish_seconds(config()) < cached


def ledger(seconds, passes):
    return {"seconds": {"forward": seconds}, "counts": {"multiply_adds_forwarded": passes * 10**6}}


def test_the_passes_of_frozen_trials_correct_what_a_few_images_told():
    timed = Forecast({"net": replace(SPEED, multiply_adds=10**6)}, IMAGES, TEST_IMAGES)
    timed.learn(config(), ledger(5.0, passes=99))  # too few
    timed.learn(config(recipe="finetune"), ledger(5.0, passes=1000))  # other passes are among its
    timed.learn({**config(), "backbone": "other"}, ledger(5.0, passes=1000))
    assert timed.speeds["net"].seconds_per_image == 0.01
    timed.learn(config(), ledger(5.0, passes=1000))
    assert timed.speeds["net"].seconds_per_image == pytest.approx(0.005)
    assert timed.speeds["net"].tail_shares == SPEED.tail_shares


def test_of_a_network_that_was_not_timed_nothing_is_expected(forecast):
    assert forecast.trial_seconds({**config(), "backbone": "other"}, "holdout") == 0.0


def test_a_drawer_repeats_itself():
    first, second = ([Drawer(1).suggest_categorical("a", "xyz"), Drawer(1).suggest_int("b", 1, 9)] for _ in range(2))
    assert first == second


def test_a_search_is_expected_to_take_its_stages_and_its_end(make_context, make_space):
    space = make_space("""
[[stage]]
name = "probe"
recipe = "probe"
trials = 4
evaluation = "cross_validation"
[stage.parameters]
backbone = { choice = ["vgg16"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
augmentation = { choice = ["none", "flip"] }

[[stage]]
name = "finetune"
recipe = "finetune"
trials = 2
keep_backbones = 1
[stage.parameters]
freeze_depth = { choice = [0.8] }
epochs = { choice = [10] }
""")
    context = make_context(space)
    context.forecast = Forecast({"vgg16": Speed(0.01, 32, (0.9, 0.7, 0.5, 0.2, 0.0))}, IMAGES, TEST_IMAGES)
    expected = expected_seconds(context, {"probe": 4, "finetune": 2})
    assert list(expected) == ["probe", "finetune", "confirm", "finish"]
    assert 10 <= expected["probe"] <= 30
    assert 2 * 32 <= expected["finetune"] <= 2 * 32 + 30
    assert context.forecast.paid == set()


STAGED = """
[[stage]]
name = "finetune"
recipe = "finetune"
trials = 4
evaluation = "cross_validation"
folds = 2
[stage.parameters]
backbone = { choice = ["vgg16", "mobilenet-v2"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
freeze_depth = { choice = [0.8] }
epochs = { choice = [10] }
"""
DEEPER = """
[[stage]]
name = "deeper"
recipe = "finetune"
trials = 4
gate = 0.5
evaluation = "cross_validation"
folds = 2
keep_backbones = 1
[stage.parameters]
freeze_depth = { choice = [0.4] }
[[stage.first]]
freeze_depth = 0.4
"""


def expected_of(context, trials):
    speed = Speed(0.01, 32, (0.9, 0.7, 0.5, 0.2, 0.0))
    context.forecast = Forecast({"vgg16": speed, "mobilenet-v2": speed}, IMAGES, TEST_IMAGES)
    return expected_seconds(context, trials)


def test_a_stage_that_asks_for_good_odds_is_expected_to_end_with_its_first_trial(make_context, make_space):
    alone = expected_of(make_context(make_space(STAGED)), {"finetune": 4})
    deeper = expected_of(make_context(make_space(STAGED + DEEPER)), {"finetune": 4, "deeper": 4})
    assert {name: deeper[name] for name in alone} == alone
    easier = make_space(STAGED + DEEPER.replace("gate = 0.5", "gate = 0.4"))
    open_to_all = expected_of(make_context(easier), {"finetune": 4, "deeper": 4})
    assert open_to_all["deeper"] > 3 * deeper["deeper"]
    assert open_to_all["finish"] > deeper["finish"]


def test_an_ensemble_is_expected_to_fit_all_its_members_on_few_folds_and_at_the_end(make_context, make_space):
    alone = expected_of(make_context(make_space(STAGED)), {"finetune": 4})
    together = expected_of(make_context(make_space(STAGED), ensemble=True), {"finetune": 4})
    assert together["finish"] == pytest.approx(2 * alone["finish"], rel=0.01)
    assert together["confirm"] == pytest.approx(alone["confirm"] / 3, rel=0.25)  # 2 members, 1 of 2 folds; 3 finalists
    under_budget = make_context(make_space(STAGED), ensemble=True, budget=1000.0)
    assert expected_of(under_budget, {"finetune": 4})["finish"] == alone["finish"]
