"""The run directory of a study, and the way back into one that was stopped."""

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotl.errors import DataError, Interrupted, UsageError
from autotl.runs.events import read_events
from autotl.studies.session import Setup, finished_result, open_session, write_result


@pytest.fixture
def images(tmp_path):
    """Two classes of eight pictures of coloured noise."""
    generator = np.random.default_rng(0)
    for name in ("blue", "red"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(8):
            noise = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "images" / name / f"{index}.png")
    return tmp_path / "images"


@pytest.fixture
def study(images, tmp_path, monkeypatch):
    """Runs jobs `{"value": n}` of a study in this process, and answers what they came to."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test before may have left another
    setup = Setup(out=str(tmp_path / "run"), cache_dir=str(tmp_path / "cache"), executor="inline")

    def run(*configs, ends=True, change=None, **request):
        asked = {"study": "sums", "dataset": str(images), "seed": 0, **request}
        if (before := finished_result(asked, setup)) is not None:
            return before["values"]
        with open_session(asked, setup, [], lambda event: None, change) as session:
            jobs = [session.job(number, "fit", config, seed=number) for number, config in enumerate(configs, start=1)]
            outcomes = session.run_jobs([replace(job, target="session_targets:square") for job in jobs])
            values = [(outcome.result["value"], outcome.result["attempt"]) for outcome in outcomes]
            run.manifest, run.events = session.manifest, read_events(session.run)
            if ends:
                write_result(session, {"values": values})
        return values

    yield run
    signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def test_a_study_that_was_stopped_goes_on_and_repeats_nothing(study, tmp_path):
    jobs = {"value": 2}, {"value": 3, "stops": True}, {"value": 4}
    with pytest.raises(Interrupted, match=rf"the same command, with --out {tmp_path / 'run'}"):
        study(*jobs)
    assert study(*jobs) == [(4, "attempt-1"), (9, "attempt-2"), (16, "attempt-2")]
    assert [event["kind"] for event in run_kinds(study)] == ["search", "interrupted", "resumed"]
    assert study(*jobs) == [[4, "attempt-1"], [9, "attempt-2"], [16, "attempt-2"]]  # out of the result that it wrote


def run_kinds(study):
    return [event for event in study.events if event["kind"] in ("search", "resumed", "interrupted")]


def test_a_job_that_has_changed_is_done_again(study):
    assert study({"value": 2}, {"value": 3}, ends=False) == [(4, "attempt-1"), (9, "attempt-1")]
    assert study({"value": 2}, {"value": 5}) == [(4, "attempt-1"), (25, "attempt-2")]


def test_another_study_in_the_folder_is_refused_with_what_differs(study):
    study({"value": 2}, ends=False, epochs=3)
    with pytest.raises(UsageError, match="epochs was 3 and is 4"):
        study({"value": 2}, epochs=4)
    study({"value": 2}, epochs=3)
    with pytest.raises(UsageError, match="seed was 0 and is 1"):
        study({"value": 2}, epochs=3, seed=1)


def test_images_that_have_changed_end_it(study, images):
    study({"value": 2}, ends=False)
    Image.new("RGB", (32, 32), "red").save(images / "red" / "0.png")
    with pytest.raises(DataError, match=r"1 changed \(red/0.png\)"):
        study({"value": 2})


def test_a_study_may_divide_the_images_anew_and_is_gone_on_with_so(study):
    def all_train(manifest):
        return replace(manifest, samples=tuple(replace(sample, split="train") for sample in manifest.samples))

    study({"value": 2}, ends=False, change=all_train)
    assert {sample.split for sample in study.manifest.samples} == {"train"}
    assert study({"value": 2}, change=all_train) == [(4, "attempt-1")]


def test_what_is_no_data_set_leaves_no_folder(study, tmp_path):
    with pytest.raises(DataError):
        study({"value": 2}, dataset=str(tmp_path / "nowhere"))
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_moved_says_where_it_lies_now(images, tmp_path):
    asked, setup = {"study": "sums", "dataset": str(images), "seed": 0}, Setup(tmp_path / "run", tmp_path / "cache")
    with open_session(asked, replace(setup, executor="inline"), [], lambda event: None) as session:
        write_result(session, {"run": str(session.run.path), "values": [1]})
    (tmp_path / "run").rename(tmp_path / "moved")
    found = finished_result(asked, replace(setup, out=tmp_path / "moved"))
    assert found == {"run": str(tmp_path / "moved"), "values": [1]}
