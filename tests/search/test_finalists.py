"""The choice among finalists: from results with small validation files, as workers leave them."""

import numpy as np

from autotl.search.finalists import Finalist, as_finalists, choose, contenders, pick_finalists


def result(number, score, state="complete", **config):
    return {"number": number, "state": state, "score": score, "config": {"backbone": "b", **config}}


def numbers(results):
    return [item["number"] for item in results]


def test_the_best_come_first_and_the_earlier_of_equals():
    results = [result(1, 0.9, a=1), result(2, 0.5, a=2), result(3, 0.7, a=3), result(4, 0.5, a=4)]
    assert numbers(pick_finalists(results, "log_loss")) == [2, 4, 3]
    assert numbers(pick_finalists(results, "accuracy")) == [1, 3, 2]


def test_no_configuration_comes_twice():
    results = [result(1, 0.6, a=1), result(2, 0.5, a=1), result(3, 0.7, a=2)]
    assert numbers(pick_finalists(results, "log_loss")) == [2, 3]


def test_only_completed_trials_can_win():
    results = [result(1, 0.1, "pruned"), result(2, None, "failed"), result(3, 0.9)]
    assert numbers(pick_finalists(results, "log_loss")) == [3]
    assert pick_finalists(results[:2], "log_loss") == []


def test_as_many_are_picked_as_are_asked_for():
    results = [result(number, number / 10, a=number) for number in range(1, 6)]
    assert numbers(pick_finalists(results, "log_loss", count=1)) == [1]
    assert numbers(pick_finalists(results, "log_loss", count=10)) == [1, 2, 3, 4, 5]


def finalist(number, losses, multiply_adds, rows=None, **scores):
    losses = np.asarray(losses, dtype=float)
    rows = np.arange(len(losses)) if rows is None else np.asarray(rows)
    measured = {"log_loss": float(losses.mean()), **scores}
    return Finalist({"backbone": f"b{number}"}, number, losses, rows, measured, 1.0, multiply_adds)


NOISE = np.tile([0.3, -0.3], 50)  # of mean zero, so that a difference has the standard error 0.03


def test_a_cheaper_model_within_one_standard_error_is_chosen():
    best, cheap = finalist(1, np.full(100, 0.5), 1000), finalist(2, 0.5 + 0.02 + NOISE, 500)
    assert choose([best, cheap], "log_loss").number == 2
    assert choose([cheap, best], "log_loss").number == 2


def test_a_cheaper_model_that_is_clearly_worse_is_not():
    best, cheap = finalist(1, np.full(100, 0.5), 1000), finalist(2, 0.5 + 0.04 + NOISE, 500)
    assert choose([best, cheap], "log_loss").number == 1


def test_what_counts_is_the_difference_image_by_image_not_the_spread_of_each():
    easy_and_hard = np.tile([0.0, 2.0], 50)
    best, cheap = finalist(1, easy_and_hard, 1000), finalist(2, easy_and_hard + 0.02, 500)
    assert choose([best, cheap], "log_loss").number == 1  # always worse by the same: no luck about it


def test_among_models_of_one_cost_the_best_is_chosen():
    best, other = finalist(2, np.full(100, 0.5), 1000), finalist(1, 0.5 + 0.01 + NOISE, 1000)
    assert choose([best, other], "log_loss").number == 2


def test_a_model_that_is_hardly_cheaper_is_not_worth_it():
    best, other = finalist(1, np.full(100, 0.5), 1000), finalist(2, 0.5 + 0.01 + NOISE, 950)
    assert choose([best, other], "log_loss").number == 1


def test_of_several_affordable_models_the_cheapest_is_chosen():
    best, fair = finalist(1, np.full(100, 0.5), 1000), finalist(2, 0.5 + 0.01 + NOISE, 500)
    cheapest, bad = finalist(3, 0.5 + 0.02 + NOISE, 300), finalist(4, np.full(100, 2.0), 10)
    assert choose([bad, best, cheapest, fair], "log_loss").number == 3


def test_of_equally_cheap_affordable_models_the_better_is_chosen():
    best, worse = finalist(1, np.full(100, 0.5), 1000), finalist(2, 0.5 + 0.02 + NOISE, 500)
    better = finalist(3, 0.5 + 0.01 + NOISE, 500)
    assert choose([best, worse, better], "log_loss").number == 3


def test_models_scored_on_other_images_are_not_compared_image_by_image():
    best, cheap = finalist(1, np.full(100, 0.5), 1000), finalist(2, np.full(100, 0.5) + NOISE, 1, rows=range(1, 101))
    assert choose([best, cheap], "log_loss").number == 1


def test_the_best_is_the_best_by_the_metric():
    by_loss = finalist(1, np.full(10, 0.4), 1000, accuracy=0.7)
    by_accuracy = finalist(2, np.full(10, 0.5), 1000, accuracy=0.8)
    assert choose([by_loss, by_accuracy], "log_loss").number == 1
    assert choose([by_loss, by_accuracy], "accuracy").number == 2


def test_a_single_image_and_a_single_finalist_are_enough():
    only = finalist(1, [0.5], 10)
    assert choose([only], "log_loss") is only
    assert choose([only, finalist(2, [0.6], 1)], "log_loss") is only


def test_an_image_that_was_held_out_several_times_counts_once_with_its_mean_loss(tmp_path):
    probabilities = np.array([[0.5, 0.5], [0.8, 0.2], [0.25, 0.75], [0.4, 0.6]])
    np.savez(tmp_path / "validation.npz", probabilities=probabilities, labels=[0, 0, 1, 0], rows=[4, 2, 7, 2])
    fit = {
        **result(1, 0.5),
        "folder": str(tmp_path),
        "scores": {"log_loss": 0.5},
        "temperature": 2.0,
        "multiply_adds": 1,
    }
    (found,) = as_finalists([fit], "log_loss")
    assert found.rows.tolist() == [2, 4, 7]
    expected = [(-np.log(0.8) - np.log(0.4)) / 2, -np.log(0.5), -np.log(0.75)]
    np.testing.assert_allclose(found.losses, expected)
    assert found.scores["n"] == 3


def test_only_what_may_be_as_good_as_the_best_is_looked_at_again(fitted):
    generator = np.random.default_rng(0)
    good = generator.uniform(0.5, 0.9, 60)
    candidates = [
        fitted(1, "a", good, 100),
        fitted(2, "b", good, 10),
        fitted(3, "c", np.clip(good + generator.normal(0, 0.1, 60), 0.1, 0.95), 100),
        fitted(4, "d", good - 0.3, 100),
    ]
    assert numbers(contenders(candidates, "log_loss", 0)) == [1, 2, 3]
    assert numbers(contenders(candidates[3:], "log_loss", 0)) == [4]
    assert numbers(contenders([*candidates[:1], fitted(5, "e", good[:30] - 0.3, 1)], "log_loss", 0)) == [1, 5]
    assert numbers(contenders(candidates, "accuracy", 0)) == [1, 2, 3, 4]  # log-loss does not decide
