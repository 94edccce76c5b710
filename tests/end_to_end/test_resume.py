"""Searches on the command line that are stopped in every way there is, and gone on with.

The driver, its workers, their signals and all files are real; what the workers do is fake (`fakes/fake_jobs.py`), so a
search takes as long as its processes need to start.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import autotl
from autotl.runs.directory import open_run
from autotl.runs.events import read_events
from autotl.runs.files import read_json

pytestmark = [pytest.mark.process, pytest.mark.slow]
FAKES = Path(__file__).parent / "fakes"
DEADLINE_SECONDS = 60
TRIALS = 6
SPACE = f"""
[[stage]]
name = "tail"
recipe = "finetune"
trials = {TRIALS}
evaluation = "holdout"
epochs = 10
prune = true
[stage.parameters]
backbone = {{ choice = ["vgg16"] }}
weights = {{ choice = ["random"] }}
image_size = {{ choice = [32] }}
freeze_depth = {{ choice = [0.8] }}
head_rate = {{ log = [1e-5, 1e-1] }}
weight_decay = {{ log = [1e-4, 1e-1] }}
[[stage.first]]
head_rate = 1e-1
[[stage.first]]
head_rate = 1e-2
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, draw_noise):
    """A folder with images, a space and the plugin."""
    folder = tmp_path_factory.mktemp("resume")
    draw_noise(folder / "images", (14, 14, 14), tint=70)
    (folder / "tiny.toml").write_text(SPACE)
    metadata = folder / "site" / "fakes-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fakes\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[autotl.executors]\nfakes = fake_executor:FAKES\n")
    return folder


class Searches:
    """Starts drivers of one run, and waits for what they do."""

    def __init__(self, place, hold, name):
        self.place, self.hold, self.name = place, hold, name
        self.started = []

    @property
    def run(self):
        return open_run(self.place / self.name)

    def command(self, *words):
        return [sys.executable, "-m", "autotl", *map(str, words), "--json"]

    def search(self, *more):
        options = ["--space", "tiny.toml", "--executor", "fakes", "--cache-dir", "cache", "--out", self.name]
        return self.start("search", "images", *options, *more)

    def resume(self, *more):
        return self.start("resume", self.name, *more)

    def start(self, *words):
        paths = os.pathsep.join([str(self.place / "site"), str(FAKES)])
        process = subprocess.Popen(
            self.command(*words),
            cwd=self.place,
            env={**os.environ, "PYTHONPATH": paths, "AUTOTL_TEST_HOLD": str(self.hold)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # a shell's background job, and so perhaps the whole test run, ignores SIGINT, and children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.started.append(process)
        return process

    def hold_at(self, name):
        """A trial, by number and step, is to wait there; it says when it does."""
        os.mkfifo(self.hold / name)

    def release(self, name):
        gate = self.hold / name
        with gate.open("w"):
            gate.unlink()

    def until_held(self, process, name):
        self.until(process, lambda: (self.hold / f"{name}.reached").exists())
        (self.hold / f"{name}.reached").unlink()

    def until(self, process, is_enough):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not is_enough():
            assert time.monotonic() < deadline, "it did not come that far in time"
            try:
                process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"it ended with {process.returncode}: {process.communicate()}")

    def events(self, *kinds):
        return [event for event in read_events(self.run) if event["kind"] in kinds]

    def trials(self):
        kept = ("number", "state", "score", "config", "curve")
        return [{name: event.get(name) for name in kept} for event in self.events("trial")]


def ended(process):
    """A driver that has come to its end, and what it printed."""
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert "Traceback" not in err, err
    return SimpleNamespace(code=process.returncode, answer=json.loads(out), err=err)


def workers_of(process):
    return psutil.Process(process.pid).children(recursive=True)


def assert_gone(workers):
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert alive == []


@pytest.fixture
def searches(place, tmp_path):
    made = []

    def make(name=None):
        hold = tmp_path / f"hold-{len(made)}"
        hold.mkdir()
        made.append(Searches(place, hold, tmp_path.name if name is None else name))
        return made[-1]

    yield make
    for each in made:
        for process in each.started:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory):
    """The search that nobody disturbs."""
    search = Searches(place, tmp_path_factory.mktemp("hold"), "whole")
    done = ended(search.search())
    assert done.code == 0, done.err
    return SimpleNamespace(result=done.answer, trials=search.trials(), search=search)


def same_end(done, search, whole):
    assert done.code == 0, done.err
    assert search.trials() == whole.trials
    for name in ("best", "trials", "validation", "test", "counts"):
        assert done.answer[name] == whole.result[name]
    assert done.answer["expected_seconds"] == search.events("plan")[0]["expected"]
    numbers = {path.name for path in (search.run.path / "trials").iterdir()}
    assert numbers == {path.name for path in (whole.search.run.path / "trials").iterdir()}
    return True


def test_ctrl_c_and_the_same_command_again(searches, whole):
    search = searches()
    search.hold_at("3-2")
    first = search.search()
    search.until_held(first, "3-2")
    workers = workers_of(first)
    first.send_signal(signal.SIGINT)
    search.until(first, lambda: search.events("interrupted"))
    search.release("3-2")  # it comes to the end of its epoch in the time that it is given
    stopped = ended(first)
    assert (stopped.code, stopped.answer["error"]["kind"]) == (130, "interrupted")
    assert f"autotl resume {search.run.path}" in stopped.err
    assert_gone(workers)
    assert autotl.status(search.run.path)["state"] == "interrupted"
    assert (search.run.attempt_dir(3, 1) / "result.json").exists()
    done = ended(search.search())
    assert same_end(done, search, whole)
    assert search.run.attempts(3) == [1, 2]
    assert [event["kind"] for event in search.events("search", "interrupted", "resumed")] == [
        "search", "interrupted", "resumed"
    ]  # fmt: skip
    refused = ended(search.search())
    assert refused.code == 2 and "is already a run. See it with `autotl status" in refused.answer["error"]["message"]


def test_ctrl_c_twice_does_not_wait(searches, whole):
    search = searches()
    search.hold_at("1-1")
    first = search.search()
    search.until_held(first, "1-1")
    workers = workers_of(first)
    first.send_signal(signal.SIGINT)
    search.until(first, lambda: search.events("interrupted"))
    first.send_signal(signal.SIGINT)
    stopped = ended(first)
    assert stopped.code == 130 and f"autotl resume {search.run.path}" in stopped.err
    assert_gone(workers)
    (search.hold / "1-1").unlink()
    assert same_end(ended(search.resume()), search, whole)


def test_sigterm_is_a_ctrl_c(searches):
    search = searches()
    search.hold_at("2-3")
    first = search.search()
    search.until_held(first, "2-3")
    first.send_signal(signal.SIGTERM)
    search.until(first, lambda: search.events("interrupted"))
    search.release("2-3")
    assert ended(first).code == 130


def test_a_driver_that_is_killed_again_and_again(searches, whole):
    """In mid-trial, in the final round, and in the last fit."""
    search = searches()
    for place in ("2-2", "4-1", f"{TRIALS + 1}-3", "final"):
        search.hold_at(place)
        driver = search.search()
        search.until_held(driver, place)
        workers = workers_of(driver)
        driver.kill()
        driver.wait()
        assert_gone(workers)
        assert autotl.status(search.run.path)["state"] == "unfinished"
        (search.hold / place).unlink()
    assert same_end(ended(search.search()), search, whole)
    assert [len(search.run.attempts(number)) for number in (1, 2, 4, TRIALS + 1)] == [1, 2, 2, 2]


def test_another_terminal_sees_what_runs_and_stops_it(searches, whole):
    search = searches()
    search.hold_at("3-2")
    driver = search.search()
    search.until_held(driver, "3-2")
    status = autotl.status(search.run.path)
    (running,) = status["running"]
    assert (status["state"], status["phase"]["name"], status["planned"]) == ("running", "tail", TRIALS)
    assert (running["number"], running["stage"], running["step"], running["attempt"]) == (3, "tail", 1, 1)
    refused = ended(search.resume())
    assert refused.code == 2 and f"process {driver.pid} on" in refused.answer["error"]["message"]
    asked = ended(search.start("stop", search.name, "--now"))
    assert asked.code == 0 and asked.answer["driver"]["pid"] == driver.pid
    assert ended(driver).code == 130
    (search.hold / "3-2").unlink()
    watched = search.start("status", search.name, "--watch")
    assert ended(watched).answer["state"] == "interrupted"
    assert same_end(ended(search.resume()), search, whole)


def test_a_search_can_be_told_to_finish_with_what_it_knows(searches, whole):
    search = searches()
    search.hold_at("3-2")
    driver = search.search()
    search.until_held(driver, "3-2")
    assert ended(search.start("stop", search.name, "--finish")).answer["asked"]
    search.release("3-2")
    done = ended(driver)
    assert done.code == 0, done.err
    assert search.trials()[:2] == whole.trials[:2]
    assert [trial["state"] for trial in search.trials()[2:]] == ["pruned"]
    assert [event["why"] for event in search.events("pruned")][-1] == "finish"
    assert done.answer["best"]["trial"] in (1, 2)


def test_a_full_disk_ends_a_search_in_order(searches, whole):
    """The log of events stands for all that a driver writes: it becomes a file that takes nothing."""
    search = searches()
    search.hold_at("3-2")
    driver = search.search()
    search.until_held(driver, "3-2")
    log, kept = search.run.events_path, search.run.events_path.with_suffix(".kept")
    log.rename(kept)
    log.symlink_to("/dev/full")
    search.release("3-2")
    full = ended(driver)
    assert full.code == 1 and "No space left" in full.answer["error"]["message"]
    assert f"make room, and continue with autotl resume {search.run.path}" in full.err
    kept.replace(log)
    assert same_end(ended(search.resume()), search, whole)


def test_what_has_changed_meanwhile_is_refused(searches, place):
    search = searches()
    search.hold_at("2-1")
    driver = search.search()
    search.until_held(driver, "2-1")
    driver.kill()
    driver.wait()
    events = search.run.events_path.read_text()
    other = ended(search.search("--seed", "5", "--trials", "9"))
    assert other.code == 2
    assert "trials was nothing and is 9; seed was 0 and is 5" in other.answer["error"]["message"]
    text = search.run.space_path.read_text()
    search.run.space_path.write_text(text.replace("1e-1", "1.0"))
    space = ended(search.resume())
    assert space.code == 2 and "head_rate.log[1] was 0.1 and is 1.0" in space.answer["error"]["message"]
    search.run.space_path.write_text(text)
    image = place / "images" / "red" / "03.png"
    content = image.read_bytes()
    try:
        image.write_bytes((place / "images" / "red" / "04.png").read_bytes())
        images = ended(search.resume())
    finally:
        image.write_bytes(content)
    assert images.code == 3 and "red/03.png" in images.answer["error"]["message"]
    assert search.run.events_path.read_text() == events
    assert read_json(search.run.request_path)["seed"] == 0
