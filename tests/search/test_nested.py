"""The parts of a nested cross-validation: every image is tested on once, and what is finished is not run again."""

import numpy as np
import pytest

from autotl.errors import UsageError
from autotl.runs.files import read_json, write_json
from autotl.search.nested import check_no_test, outer_manifests, run_nested, whole_manifest

SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 1
[stage.parameters]
backbone = { choice = ["vgg16"] }
"""
PARTS = 3


@pytest.fixture
def context(make_context, make_space):
    context = make_context(make_space(SPACE), budget=100.0, cv_test=PARTS)
    (context.run.path / "space.toml").write_text(SPACE)
    return context


def finish(context):
    """What a search leaves behind, as far as the others look at it."""
    context.costs.add_job({"seconds": {"train": 2.0}, "counts": {"multiply_adds_trained": 7}}, 3.0, "probe")
    result = {"n": len(context.manifest.rows("test")), "outer": list(context.outer)}
    write_json(context.run.path / "result.json", result)
    return result


def test_every_image_is_in_the_test_split_of_one_part(manifest):
    tested = np.concatenate([part.rows("test") for part in outer_manifests(manifest, PARTS, seed=1)])
    assert sorted(tested.tolist()) == list(range(len(manifest.samples)))


def test_every_part_has_all_classes_in_all_splits(manifest):
    for part in outer_manifests(manifest, PARTS, seed=1):
        for split in ("train", "val", "test"):
            assert set(part.labels()[part.rows(split)].tolist()) == {0, 1, 2}


def test_near_duplicates_are_in_one_split(manifest):
    from dataclasses import replace

    samples = tuple(replace(sample, group=index // 2) for index, sample in enumerate(manifest.samples))
    for part in outer_manifests(replace(manifest, samples=samples), PARTS, seed=1):
        splits = [sample.split for sample in part.samples]
        assert splits[0::2] == splits[1::2]


def test_the_parts_do_not_depend_on_the_division_that_was_there(manifest):
    assert outer_manifests(whole_manifest(manifest), PARTS, 1) == outer_manifests(manifest, PARTS, 1)
    assert outer_manifests(manifest, PARTS, 2) != outer_manifests(manifest, PARTS, 1)


def test_the_last_search_trains_on_what_was_put_aside_for_the_test(manifest):
    whole = whole_manifest(manifest)
    assert len(whole.rows("test")) == 0
    assert set(whole.rows("train").tolist()) == set(manifest.rows("train", "test").tolist())
    assert whole.rows("val").tolist() == manifest.rows("val").tolist()


def test_every_part_has_its_share_of_the_budget_and_the_last_search_all_predictions(context):
    seen = []

    def run_one(one):
        seen.append((one.request.budget, one.request.cv_test, one.run.path))
        return finish(one)

    result = run_nested(context, PARTS, run_one)
    shares, nested, paths = zip(*seen, strict=True)
    assert shares == (25.0, 25.0, 25.0, 100.0)
    assert nested == (None, None, None, PARTS)
    assert list(paths) == [*(context.run.path / "outer" / str(number) for number in range(PARTS)), context.run.path]
    assert result == {"n": 0, "outer": [str(path / "test.npz") for path in paths[:-1]]}
    assert read_json(paths[0] / "request.json")["budget"] == 25.0


def test_what_is_finished_is_not_run_again(context):
    runs = []

    def stop_in_the_second(one):
        if len(runs) == 1:
            raise KeyboardInterrupt
        runs.append(one.run.path.name)
        return finish(one)

    with pytest.raises(KeyboardInterrupt):
        run_nested(context, PARTS, stop_in_the_second)
    again = []

    def run_one(one):
        again.append(one.run.path.name)
        return finish(one)

    run_nested(context, PARTS, run_one)
    assert runs == ["0"]
    assert again == ["1", "2", "run"]


def test_a_test_split_that_was_given_is_refused():
    check_no_test({"given_splits": ["train", "val"]}, PARTS)
    with pytest.raises(UsageError, match="--cv-test 3 tests on every image once"):
        check_no_test({"given_splits": ["train", "test"]}, PARTS)


def test_what_the_parts_cost_is_in_the_ledger_of_the_whole(context):
    run_nested(context, PARTS, finish)
    assert context.costs.busy_seconds == 4 * 3.0
    assert context.costs.counts == {"multiply_adds_trained": 4 * 7}
    assert {name: spent["seconds"] for name, spent in context.costs.stages.items()} == {
        "outer 0": 3.0, "outer 1": 3.0, "outer 2": 3.0, "probe": 3.0
    }  # fmt: skip


def test_nothing_is_delivered_before_the_last_search_has_begun(context):
    context.stopping.finishes = True
    with pytest.raises(UsageError, match="Leave --finish out"):
        run_nested(context, PARTS, finish)
