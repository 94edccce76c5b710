import json
from pathlib import Path

import numpy as np
import pytest

from autotl.deliver.artefact import open_artefact
from autotl.deliver.finish import run_job
from autotl.errors import AutotlError, Interrupted, ParityError
from autotl.learn.calibration import calibration_report

pytestmark = pytest.mark.keras


def test_the_last_job_checks_tests_once_and_writes_the_model_folder(finish_payload, reports):
    result = run_job(finish_payload, reports.report)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    opened = open_artefact(Path(finish_payload["folder"]))
    described = opened.description
    assert described["test"] == result["test"] and described["parity"] == result["parity"]
    assert result["parity"]["passed"] and result["parity"]["max_difference"] == 0.0
    assert result["test"]["n"] == 30 and result["test"]["accuracy"] > 0.5
    assert [read["count"] for read in described["test_reads"]] == [1]
    assert 0 < result["latency"]["p50_milliseconds"] <= result["latency"]["p95_milliseconds"]
    assert all(Path(path).is_file() for path in result["files"])
    assert reports.told == ["parity", "test", "latency", "novelty", "write"]
    assert described["ood"]["file"] is None and "no head" in described["ood"]["reason"]
    before = result["test"]["uncalibrated"]  # by the temperature of the description
    assert before["expected_calibration_error"] != result["test"]["expected_calibration_error"]


def test_the_chosen_trial_says_how_well_calibrated_it_was_out_of_fold(finish_payload, reports, tmp_path):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(3), 20).repeat(2, axis=0)  # two fits of each row
    np.savez(tmp_path / "validation.npz", probabilities=probabilities, rows=np.arange(20).repeat(2), labels=[0, 0] * 20)
    (tmp_path / "result.json").write_text('{"temperature": 2.0}')
    finish_payload["held_out"] = str(tmp_path)
    run_job(finish_payload, reports.report)
    found = open_artefact(Path(finish_payload["folder"])).description["validation"]
    assert found["accuracy"] == 0.9  # what the search said stays
    expected = calibration_report(probabilities[::2], [0] * 20, 2.0)
    assert found["expected_calibration_error_ci95"] == expected["expected_calibration_error_ci95"]
    assert found["uncalibrated"] == expected["uncalibrated"]


def test_reading_the_test_again_is_counted(finish_payload, reports):
    finish_payload["description"]["test_reads"] = [{"at": "2026-01-01T00:00:00+00:00", "n": 30, "count": 1}]
    run_job(finish_payload, reports.report)
    reads = open_artefact(Path(finish_payload["folder"])).description["test_reads"]
    assert [read["count"] for read in reads] == [1, 2]


def test_a_file_that_computes_something_else_is_rejected_and_kept(finish_payload, reports):
    path = Path(finish_payload["reference"]["probabilities"])
    reference = np.load(path)
    np.save(path, reference + np.float32(2e-4))
    with pytest.raises(ParityError, match=r"within 0\.0001.*model\.keras\.rejected") as caught:
        run_job(finish_payload, reports.report)
    assert caught.value.exit_code == 5
    folder = Path(finish_payload["folder"])
    assert [file.name for file in folder.iterdir()] == ["model.keras.rejected"]
    assert not Path(finish_payload["model"]).exists()
    assert reports.told == ["parity"]  # the test split has not been read
    with pytest.raises(AutotlError, match="failed its parity check"):
        open_artefact(folder)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_none_fail_the_parity_check(finish_payload, reports, wrong):
    path = Path(finish_payload["reference"]["probabilities"])
    reference = np.load(path)
    reference[0, 0] = wrong
    np.save(path, reference)
    with pytest.raises(ParityError):
        run_job(finish_payload, reports.report)


def test_a_stop_is_heeded_before_the_test_split_is_read(finish_payload):
    with pytest.raises(Interrupted, match="'test'"):
        run_job(finish_payload, lambda step, value, extra: extra["phase"] == "test")
    assert not Path(finish_payload["folder"]).exists()


def test_what_the_model_said_of_the_test_images_is_kept_and_can_be_another_models_test(
    finish_payload, reports, manifest
):
    first = run_job(finish_payload, reports.report)["test"]
    path = finish_payload["predictions"]
    with np.load(path) as saved:
        assert saved["rows"].tolist() == manifest.rows("test").tolist()
        assert saved["probabilities"].shape == (first["n"], len(manifest.classes))
    finish_payload["folder"] = str(Path(path).parent / "again")
    finish_payload["outer"] = [path, path]
    both = run_job(finish_payload, reports.report)["test"]
    assert both["n"] == 2 * first["n"]
    assert both["accuracy"] == first["accuracy"]
    assert "uncalibrated" in first and "uncalibrated" not in both  # each of the others had a temperature of its own
