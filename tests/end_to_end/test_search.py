"""A search from the first image to the delivered model, through the public interface."""

import hashlib
import json
from pathlib import Path

import numpy as np
import optuna
import pytest
from PIL import Image

import autotl
from autotl.data.manifest import Manifest
from autotl.data.samples import resolve_dataset
from autotl.data.source import open_source
from autotl.runs.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]


def test_the_result_holds_what_the_design_promises(first):
    values = json.loads(json.dumps(dict(first.result.values), allow_nan=False))
    assert {"run", "model", "best", "trials", "validation", "test", "seconds", "cost"} <= set(values)
    assert {"backbone", "image_size", "freeze_depth", "trial"} <= set(values["best"])
    assert values["trials"] == {"complete": 4, "pruned": 0, "failed": 0}
    assert {"n", "accuracy", "balanced_accuracy", "log_loss", "accuracy_ci95"} <= set(values["test"])
    low, high = values["test"]["accuracy_ci95"]
    assert low <= values["test"]["accuracy"] <= high
    assert values["test"]["accuracy"] > 3 / 12  # twelve classes, tiny pictures: far above chance
    assert values == read_json(first.run.path / "result.json")


def test_the_configuration_that_won_is_one_that_was_tried(first):
    best = {name: value for name, value in first.result.best.items() if name != "trial"}
    (trial,) = [trial for trial in first.trials if trial["number"] == first.result.best["trial"]]
    assert trial["config"] == best
    assert trial["state"] == "complete"


def test_the_cost_ledger_adds_up_to_the_time_of_the_one_slot(first):
    assert {"decode", "forward", "train", "trace", "solve", "idle"} <= set(first.result.cost)
    assert sum(first.result.cost.values()) == pytest.approx(first.result.seconds, rel=0.005)


def test_the_model_folder_is_complete_and_says_what_was_measured(first, description):
    assert sorted(path.name for path in first.result.model.iterdir()) == [
        "MODEL_CARD.md", "autotl.json", "labels.txt", "model.keras", "ood.npz"
    ]  # fmt: skip
    manifest = Manifest.read(first.run.manifest_path)
    assert (first.result.model / "labels.txt").read_text().splitlines() == list(manifest.classes)
    assert description["class_names"] == list(manifest.classes)
    digest = hashlib.sha256((first.result.model / "model.keras").read_bytes()).hexdigest()
    assert description["model"]["sha256"] == digest
    assert description["data"]["fingerprint"] == manifest.fingerprint
    assert description["backbone"]["weights"]["licence"]
    assert description["parity"]["passed"]
    assert {name: description["test"][name] for name in first.result.test} == dict(first.result.test)
    card = (first.result.model / "MODEL_CARD.md").read_text()
    assert "efficientnet-lite0" in card


def test_the_test_split_was_read_once(first, description):
    (read,) = description["test_reads"]
    rows = Manifest.read(first.run.manifest_path).rows("test")
    assert (read["count"], read["n"]) == (1, len(rows))
    assert first.result.test["n"] == len(rows)


def test_no_feature_store_holds_an_image_of_the_test_split(first, workplace):
    seen = len(Manifest.read(first.run.manifest_path).rows("train", "val"))
    headers = list((workplace / "cache" / "features").glob("*/array.json"))
    assert len(headers) >= 2
    assert {read_json(path)["shape"][0] for path in headers} == {seen}


def test_evaluating_the_model_anew_gives_the_scores_to_the_last_digit(first, workplace):
    found = autotl.evaluate(first.result.run, "sample:clipart", cache_dir=workplace / "cache")
    assert (found["same_data"], found["reproduced"]) == (True, True)
    assert {name: found[name] for name in first.result.test} == dict(first.result.test)


def test_new_images_get_labels_of_the_classes(first, description, tmp_path):
    manifest = Manifest.read(first.run.manifest_path)
    with open_source(resolve_dataset("sample:clipart")) as source:
        for row in manifest.rows("test")[:2]:
            (tmp_path / Path(manifest.samples[row].path).name).write_bytes(source.read(manifest.samples[row].path))
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "zz-noise.png")
    answers = list(autotl.predict(first.result.model, tmp_path, top_k=12))
    assert [Path(answer["path"]).name for answer in answers] == sorted(path.name for path in tmp_path.iterdir())
    for answer in answers:
        assert answer["top"][0]["label"] == answer["label"]
        assert {item["label"] for item in answer["top"]} == set(description["class_names"])
        assert sum(item["probability"] for item in answer["top"]) == pytest.approx(1.0, abs=1e-5)
    assert [answer["label"] for answer in first.result.predict(tmp_path)] == [answer["label"] for answer in answers]


def test_the_report_is_there_and_shows_the_test(first):
    assert first.run.report_path.is_file()
    assert f"{100 * first.result.test['accuracy']:.1f}" in first.run.report_path.read_text()


def test_a_report_can_be_written_at_any_time(first):
    assert autotl.report(first.result.run) == first.run.report_path
    assert "efficientnet-lite0" in first.run.report_path.read_text()


def test_the_study_opens_with_optuna_and_has_every_trial_and_epoch(first):
    storage = f"sqlite:///{first.run.study_path}"
    assert sorted(optuna.get_all_study_names(storage)) == ["finetune", "probe"]
    trials = [
        trial for name in ("probe", "finetune") for trial in optuna.load_study(study_name=name, storage=storage).trials
    ]
    assert [trial.user_attrs["number"] for trial in trials] == [1, 2, 3, 4]
    assert [trial.value for trial in trials] == [trial["score"] for trial in first.trials]
    for trial, told in zip(trials[2:], first.trials[2:], strict=True):
        assert trial.intermediate_values == dict(enumerate(told["curve"], start=1))
        assert len(told["curve"]) == 2


def test_every_trial_left_its_settings_and_its_validation(first):
    for trial in first.trials:
        folder = first.run.trial_dir(trial["number"])
        assert trial["config"].items() <= read_json(folder / "config.json").items()
        with np.load(folder / "attempt-1" / "validation.npz", allow_pickle=False) as saved:
            assert len(saved["labels"]) == trial["scores"]["n"]
        assert (folder / "attempt-1" / "log.txt").exists()


def test_fine_tuning_starts_from_the_best_probe(first):
    probes = [trial for trial in first.trials if trial["stage"] == "probe"]
    best = min(probes, key=lambda trial: trial["score"])
    penalties = {trial["config"]["penalty"] for trial in first.trials if trial["stage"] == "finetune"}
    assert penalties == {best["config"]["penalty"]}


def test_the_person_who_watches_hears_of_every_phase_and_trial(first):
    phases = [event["phase"] for event in first.told if event["event"] == "phase"]
    assert phases == ["data", "check", "probe", "finetune", "confirm", "final", "test"]
    (plan,) = [event for event in first.told if event["event"] == "plan"]
    assert plan["trials"] == 4
    ended = [(event["number"], event["score"]) for event in first.told if event["event"] == "trial"]
    assert ended == [(trial["number"], trial["score"]) for trial in first.trials]
    progress = [event for event in first.told if event["event"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == read_json(first.run.path / "data.json")["files"]


def test_the_state_of_a_finished_run_is_its_result(first):
    found = autotl.status(first.result.run)
    assert found["state"] == "finished"
    assert found["result"] == dict(first.result.values)
    assert found["trials"] == first.result.trials


def test_resuming_a_finished_search_gives_its_result_at_once(first):
    before = first.run.events_path.read_bytes()
    assert autotl.resume(first.result.run).values == first.result.values
    assert first.run.events_path.read_bytes() == before
