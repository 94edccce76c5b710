import hashlib
import importlib
import json
import os
import platform
import sys
from pathlib import Path

import pytest

from autotl.space.files import read_space

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SPACE = BENCHMARKS / "spaces" / "vs_keras_tuner.toml"
MACHINE = {
    "processor": "Some Processor", "machine": "x86_64", "cores": 2, "memory_gib": 23.5, "load": 0.1, "system": "Linux",
    "python": "3.11.7", "keras_backend": "tensorflow", "versions": {"keras": "3.15.1"},
}  # fmt: skip


@pytest.fixture
def benchmark_module(monkeypatch):
    """Imports a module of the folder `benchmarks`, which is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def a_side(seconds, accuracy):
    measured = {"seconds": seconds, "processor_seconds": 2 * seconds, "n": 494, "accuracy": accuracy}
    return {**measured, "balanced_accuracy": accuracy - 0.1, "log_loss": 1.25}


def test_machine_record_says_cores_and_versions_and_names_neither_host_nor_path(benchmark_module):
    record = benchmark_module("machine").machine_record()
    assert 1 <= record["cores"] <= os.cpu_count()
    assert record["python"] == platform.python_version()
    assert {"autotl", "keras", "optuna", "numpy"} <= set(record["versions"])
    written = json.dumps(record)
    assert str(Path.home()) not in written
    assert "/" not in written


def test_machine_is_one_line(benchmark_module):
    told = benchmark_module("machine").describe_machine(MACHINE)
    assert told.startswith("2 cores (Some Processor), 23.5 GiB, load 0.1 before the start;")
    assert "\n" not in told


def test_markdown_table_has_a_rule_under_its_columns(benchmark_module):
    table = benchmark_module("machine").markdown_table(("what", "seconds"), [["data", 7.5], ["test", 9]])
    assert table == "| what | seconds |\n| --- | --- |\n| data | 7.5 |\n| test | 9 |"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "required: dataset"),
        (["photos", "--trials", "0"], "--trials: must be at least 1, not 0"),
        (["photos", "--repeats", "many"], "--repeats: invalid"),
        (["photos", "--ways", "sideways"], "invalid choice"),
    ],
)
def test_comparison_refuses_a_command_line_that_cannot_be_meant(benchmark_module, capsys, words, told):
    with pytest.raises(SystemExit) as caught:
        benchmark_module("vs_keras_tuner").read_arguments(words)
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


def test_comparison_changes_epochs_and_image_size_of_its_space_and_nothing_else(benchmark_module, tmp_path):
    path = benchmark_module("vs_keras_tuner").write_space(SPACE, tmp_path, epochs=2, image_size=96)
    shipped, written = read_space(str(SPACE)).stages[0], read_space(str(path)).stages[0]
    assert written.epochs == 2
    assert written.parameters["image_size"].choice == (96,)
    unchanged = {
        "epochs": shipped.epochs,
        "parameters": {**written.parameters, "image_size": shipped.parameters["image_size"]},
    }
    assert written.model_copy(update=unchanged) == shipped


def test_comparison_refuses_a_space_whose_epochs_it_cannot_set(benchmark_module, tmp_path):
    space = tmp_path / "mine.toml"
    space.write_text(SPACE.read_text().replace("epochs = 5\n", ""))
    with pytest.raises(SystemExit, match="must have a line `epochs"):
        benchmark_module("vs_keras_tuner").write_space(space, tmp_path, epochs=2, image_size=96)


def test_comparison_reports_medians_and_ratios_of_wall_time(benchmark_module):
    comparison = benchmark_module("vs_keras_tuner")
    arguments = comparison.read_arguments(["folder/photos", "--repeats", "3"])
    runs = [
        {
            "seed": seed,
            "sides": {
                comparison.SEARCHED: a_side(keras_tuner, 0.59),
                comparison.REFITTED: a_side(keras_tuner + 40, 0.6),
                comparison.AUTOTL: a_side(own, 0.62),
            },
            "details": {
                "autotl": {"spent": {"data": {"seconds": 7.0}, "confirm": {"jobs": 3, "seconds": 9.0, "train": 8.0}}}
            },
        }
        for seed, keras_tuner, own in ((0, 800.0, 100.0), (1, 900.0, 80.0), (2, 840.0, 70.0))
    ]
    record = comparison.make_record(arguments, MACHINE, runs)
    assert record["dataset"] == "photos"
    assert record["medians"][comparison.AUTOTL]["seconds"] == 80.0
    assert record["times_faster"] == {comparison.AUTOTL: 10.5}
    report = comparison.make_report(record)
    assert f"| {comparison.SEARCHED} | 840 |  | 1680 | 0.590 | 0.490 | 1.250 |" in report
    assert f"| {comparison.AUTOTL} | 80 | 10.5 | 160 | 0.620 | 0.520 | 1.250 |" in report
    assert "| confirm | 3 | 9.0 | 8.0 |" in report


def test_seconds_of_a_run_are_told_by_freeze_point_and_head_and_add_up(benchmark_module, tmp_path):
    config = {"recipe": "finetune", "freeze_depth": 0.8, "head": "mlp"}
    events = [
        {"kind": "trial", "number": 1, "config": config, "time": "2026-11-25T08:00:10+00:00"},
        {"kind": "final", "number": 3, "config": config, "time": "2026-11-25T08:00:20+00:00"},
        {"kind": "started", "job": "deliver", "time": "2026-11-25T08:00:20+00:00"},
        {"kind": "ended", "job": "deliver", "time": "2026-11-25T08:00:23.500+00:00"},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (tmp_path / "data.json").write_text(json.dumps({"seconds": 4.0}))
    for number, seconds in ((1, 6.0), (2, 2.0), (3, 3.0)):
        folder = tmp_path / "trials" / f"{number:04}" / "attempt-1"
        folder.mkdir(parents=True)
        result = {"seconds": seconds, "ledger": {"seconds": {"train": seconds - 1.0}, "counts": {}}}
        (folder / "result.json").write_text(json.dumps(result))
    spent = benchmark_module("autotl_seconds").spent_seconds(tmp_path, wall_seconds=25.0)
    assert spent == {
        "data": {"seconds": 4.0},
        "search, finetune, frozen 0.8, mlp": {"jobs": 1, "seconds": 6.0, "train": 5.0},
        "confirm": {"jobs": 1, "seconds": 2.0, "train": 1.0},
        "final": {"jobs": 1, "seconds": 3.0, "train": 2.0},
        "test": {"seconds": 3.5},
        "start, end and between": {"seconds": 6.5},
        "all": {"seconds": 25.0},
    }


@pytest.mark.keras
def test_keras_tuner_is_given_the_parameters_values_and_conditions_of_the_file(benchmark_module):
    keras_tuner = pytest.importorskip("keras_tuner")
    hyperparameters = keras_tuner.HyperParameters()
    declare = benchmark_module("keras_tuner_side").declare
    stage = read_space(str(SPACE)).stages[0]
    values = declare(hyperparameters, stage)
    assert values["freeze_depth"] == 1.0
    assert values["tail_rate"] is None  # nothing is trained but the head
    with_a_tail = keras_tuner.HyperParameters()
    with_a_tail.values["freeze_depth"] = 0.8
    assert 2e-5 <= declare(with_a_tail, stage)["tail_rate"] <= 1e-3
    by_name = {one.name: one for one in hyperparameters.space}
    assert set(by_name) == set(stage.parameters)
    assert tuple(by_name["freeze_depth"].values) == stage.parameters["freeze_depth"].choice
    assert (by_name["head_rate"].min_value, by_name["head_rate"].max_value) == stage.parameters["head_rate"].log
    assert by_name["head_rate"].sampling == "log"
    assert [(one.name, one.values) for one in by_name["width"].conditions] == [("head", ["mlp"])]


def test_synthetic_images_are_the_same_for_a_seed_and_no_two_alike(benchmark_module, tmp_path):
    make_images = benchmark_module("memory").make_images
    contents = []
    for name in ("one", "two"):
        make_images(tmp_path / name, 200, seed=3)
        files = sorted((tmp_path / name).rglob("*.png"))
        contents.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert contents[0] == contents[1]
    assert len(set(contents[0])) == 200


@pytest.mark.parametrize(
    ("words", "told"), [(["100"], "at least 200, not 100"), (["--kinds", "probe,dream"], "given dream")]
)
def test_memory_refuses_what_it_cannot_measure(benchmark_module, monkeypatch, capsys, tmp_path, words, told):
    monkeypatch.setattr(sys, "argv", ["memory.py", *words, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        benchmark_module("memory").main()
    assert caught.value.code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which only Linux has")
def test_memory_of_a_process_is_in_mebibytes(benchmark_module):
    memory_of = benchmark_module("memory").memory_of
    before = memory_of(os.getpid())
    held = b"x" * (64 * 2**20)
    after = memory_of(os.getpid())
    assert 60 < after["own"] - before["own"] < 70
    assert after["peak"] >= after["own"]
    assert len(held) == 64 * 2**20


def test_memory_report_tells_the_growth_for_each_image(benchmark_module):
    def row(images, own):
        used = {"peak": own + 100.0, "own": own}
        return {"kind": "probe", "images": images, "driver": used, "worker": used, "cache": 20.0, "seconds": 60.0}

    record = {"machine": MACHINE, "rows": {"probe 2000": row(2000, 400.0), "probe 10000": row(10_000, 480.0)}}
    report = benchmark_module("memory").make_report(record)
    assert "| probe | 2000 | 500 | 400 | 500 | 400 | 20.0 | 60.0 |" in report
    assert report.endswith("| probe | 2000 | 10000 | 10.2 | 10.2 | 10.2 | 10.2 |\n")


def test_selection_draws_every_class_in_its_share_and_no_image_twice(benchmark_module, tmp_path):
    selection = benchmark_module("selection")
    for label, count in (("cat", 40), ("dog", 20)):
        for number in range(count):
            path = tmp_path / "photos" / ("train" if number % 2 else "test") / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{label} {number}")
    arguments = selection.read_arguments(["photos", "--train", "30", "--validation", "12"])
    data = selection.draw(tmp_path / "photos", tmp_path / "drawn", 3, arguments)
    found = {(path.parent.parent.name, path.parent.name): 0 for path in data.rglob("*.png")}
    for path in data.rglob("*.png"):
        found[path.parent.parent.name, path.parent.name] += 1
    assert found == {
        ("train", "cat"): 20, ("train", "dog"): 10, ("val", "cat"): 8, ("val", "dog"): 4, ("test", "cat"): 12,
        ("test", "dog"): 6,
    }  # fmt: skip
    assert len({path.read_text() for path in data.rglob("*.png")}) == 60


def test_selection_reports_differences_seed_by_seed(benchmark_module):
    rows = [
        {"seed": seed, "trials": trials, "n": 99, "accuracy": accuracy, "balanced_accuracy": 0.5, "log_loss": 1.0,
         "optimism": 0.1}
        for seed, trials, accuracy in ((0, 10, 0.60), (0, 50, 0.61), (1, 10, 0.70), (1, 50, 0.71))
    ]  # fmt: skip
    record = {"dataset": "photos", "validation": 200, "rows": rows, "machine": MACHINE}
    report = benchmark_module("selection").make_report(record)
    assert "| 50 against 10 | 2 | +0.010 ± 0.000 |" in report
    assert "| 10 | 2 | 0.650 ± 0.635 |" in report


@pytest.mark.parametrize("name", ["without_feature_store", "without_reuse"])
def test_an_ablated_search_asks_its_workers_for_the_ablated_job(benchmark_module, monkeypatch, tmp_path, name):
    from autotl.data.manifest import Manifest
    from autotl.data.store import Cache
    from autotl.runs.directory import create_run
    from autotl.search import asking

    module = benchmark_module("ablated_jobs")
    monkeypatch.setattr(asking, "TRIAL_TARGET", asking.TRIAL_TARGET)  # put back afterwards
    module.retarget(name)
    run, manifest = create_run(tmp_path / "run", {}), Manifest("images", ("a", "b"), ())
    job = asking.make_job(run, manifest, Cache(tmp_path / "cache", 1), 1, "trial", {}, 0)
    where, _, function = job.target.partition(":")
    assert where == "ablated_jobs" and callable(getattr(module, function))
