"""Exports by the command line, with a plugin's formats beside ONNX: one that works and each way of not working.

The plugin's formats are the last layer of the mean-colour model as JSON, and numpy runs them; so most of the time goes
into the two processes that import Keras and write.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from autotl.data.manifest import Manifest, Sample
from autotl.deliver import child_verify
from autotl.deliver.artefact import open_artefact, write_artefact
from autotl.deliver.child import run_child
from autotl.deliver.export import export_model
from autotl.deliver.export_images import NO_IMAGES
from autotl.deliver.export_targets import choose_targets
from autotl.deliver.export_writing import write_targets
from autotl.deliver.predictor import open_predictor
from autotl.errors import AutotlError, PluginError, UsageError

pytestmark = [pytest.mark.keras, pytest.mark.process]

NAMES, SIZE = ("blue", "green", "red"), 16
KERNEL = 3.0 * np.fliplr(np.eye(3))
PLUGIN = """
import json, os, signal
from autotl.errors import AutotlError
from autotl.exporters.contract import Exporter, Limits

def write(export, factor=1.0):
    kernel, bias = export.model.layers[-1].get_weights()
    export.path.write_text(json.dumps([(factor * kernel).tolist(), bias.tolist()]))

def write_wrong(export):
    write(export, -1.0)

def write_and_abort(export):
    os.write(2, b"about to die")
    os.abort()

def write_for_ever(export):
    signal.pause()

def write_nothing(export):
    raise AutotlError("There are no words for this network.")

def exporter(name, write, runtime="fake_runtime", **more):
    limits = {"float32": Limits(1e-4, same_label=1.0, accuracy_drop=0.0)}
    return Exporter(name, file=f"model.{name}", precisions=limits, write=write, runtime=runtime, **more)

PLAIN, WRONG = exporter("plain", write), exporter("wrong", write_wrong)
CRASH, MUTE = exporter("crash", write_and_abort), exporter("mute", write_nothing)
SLOW = exporter("slow", write_for_ever)
GREEDY = exporter("greedy", write, "fake_greedy_runtime")
ABSENT = exporter("absent", write, writer_packages={"no_such_package": "no-such"}, extra="fake-formats[absent]")
"""
RUNTIME = '''
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 `[b, S, S, 3]` to float32 `[b, C]`."""
    kernel, bias = map(np.array, json.loads(next(folder.glob("model.*")).read_text()))

    def predict(images: np.ndarray) -> np.ndarray:
        logits = (images / 127.5 - 1).mean(axis=(1, 2)) @ kernel + bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    return predict
'''


def install_plugin(site):
    metadata = site / "fake_formats-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-formats\nVersion: 1.0\n")
    names = ("plain", "wrong", "crash", "mute", "greedy", "slow", "absent")
    lines = [f"{name} = fake_formats:{name.upper()}" for name in names]
    (metadata / "entry_points.txt").write_text("\n".join(["[autotl.exporters]", *lines, ""]))
    (site / "fake_formats.py").write_text(PLUGIN)
    (site / "fake_runtime.py").write_text(RUNTIME)
    (site / "fake_greedy_runtime.py").write_text("import keras\n" + RUNTIME)


def write_run(run):
    """A run directory with the model that tells colours apart by their mean, and its pictures."""
    import keras

    samples, generator = [], np.random.default_rng(0)
    for label, name in enumerate(NAMES):
        (run / "colours" / name).mkdir(parents=True)
        for index in range(40):
            pixels = generator.integers(0, 200, (SIZE, SIZE, 3), dtype=np.uint8)
            pixels[..., 2 - label] += 55
            path = run / "colours" / name / f"{index:02d}.png"
            Image.fromarray(pixels).save(path)
            digest, split = hashlib.sha256(path.read_bytes()).hexdigest(), ("test", "train", "val", "val")[index % 4]
            samples.append(Sample(f"{name}/{path.name}", label, split, len(samples), digest))
    manifest = Manifest(str(run / "colours"), NAMES, tuple(samples))
    manifest.write(run / "manifest.csv")
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 127.5, offset=-1)(image))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(mean))
    model.layers[-1].set_weights([KERNEL, np.zeros(3)])
    model.save(run / "some.keras")
    description = {
        "class_names": list(NAMES), "image_size": SIZE, "backbone": {"name": "mean", "weights": {
            "source": "a test", "sha256": None, "licence": "Apache-2.0", "dataset": "none"}},
        "configuration": {"recipe": "probe", "backbone": "mean"}, "temperature": 1.0,
        "data": {"name": "gone", "seed": 0, "fingerprint": manifest.fingerprint, "split_fingerprint": "some"},
        "validation": {"n": 9, "accuracy": 0.9}, "test": {"n": 9, "accuracy": 0.8, "accuracy_ci95": [0.6, 1.0]},
    }  # fmt: skip
    write_artefact(run / "some.keras", run / "model", description)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A delivered run, and how to start the command line where the plugin is installed."""
    folder = tmp_path_factory.mktemp("export")
    install_plugin(folder / "site")
    write_run(folder / "run")
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "AUTOTL_CACHE_DIR": str(folder / "cache")}

    def start(*arguments):
        command = [sys.executable, "-m", "autotl", "export", str(folder / "run"), *map(str, arguments), "--json"]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
        )

    def export(*arguments):
        process = start(*arguments)
        out, err = process.communicate()
        assert out, err
        return SimpleNamespace(code=process.returncode, result=json.loads(out), stderr=err)

    return SimpleNamespace(folder=folder, run=folder / "run", site=folder / "site", start=start, export=export)


@pytest.fixture(scope="module")
def exported(place):
    formats = ("crash", "plain", "onnx", "wrong", "mute", "greedy")
    return place.export(*(word for name in formats for word in ("--format", name)))


@pytest.fixture
def plugin(place, monkeypatch):
    monkeypatch.syspath_prepend(place.site)
    return place.site


def entry(exported, name):
    return next(item for item in exported.result["exports"] if item["format"] == name)


def test_what_becomes_of_one_format_changes_nothing_for_the_others(exported):
    states = {item["format"]: item["state"] for item in exported.result["exports"]}
    assert states == {
        "crash": "failed", "plain": "ok", "onnx": "ok", "wrong": "rejected", "mute": "failed", "greedy": "rejected",
    }  # fmt: skip
    assert exported.code == 5


def test_a_converter_that_crashes_is_told_with_its_last_words(exported):
    problem = entry(exported, "crash")["problem"]
    assert "the converter did not finish" in problem and "SIGABRT" in problem and "about to die" in problem
    assert problem.endswith("Choose another format or precision.")
    assert problem in exported.stderr
    assert entry(exported, "mute")["problem"] == "There are no words for this network."


def test_a_good_export_is_a_folder_that_describes_itself(exported, place):
    folder = place.run / "export" / "onnx-float32"
    assert {path.name for path in folder.iterdir()} == {
        "model.onnx", "autotl.json", "labels.txt", "MODEL_CARD.md", "parity.json", "predict.py",
    }  # fmt: skip
    described = json.loads((folder / "autotl.json").read_text())
    original = json.loads((place.run / "model" / "autotl.json").read_text())
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    size = (folder / "model.onnx").stat().st_size
    assert described["model"] == {
        "file": "model.onnx", "files": {"model.onnx": digest}, "sha256": digest, "bytes": size,
    }  # fmt: skip
    assert (described["format"], described["precision"]) == ("onnx", "float32")
    assert described["exported_from"] == original["model"]["sha256"]
    assert described["test"] == original["test"] and described["class_names"] == list(NAMES)
    assert "onnxruntime" in described["versions"]
    assert entry(exported, "onnx")["bytes"] == size


def test_the_comparison_is_written_down_with_what_it_was_made_on(exported, place):
    found = json.loads((place.run / "export" / "onnx-float32" / "parity.json").read_text())
    parity = entry(exported, "onnx")["parity"]
    assert {**parity, "format": "onnx", "precision": "float32"}.items() <= found.items()
    assert (parity["n"], parity["synthetic"], parity["batch_sizes"], parity["validation"]["n"]) == (60, 3, [1, 3], 60)
    assert parity["max_difference"] < 1e-5 and parity["same_label"] == 1.0
    assert parity["validation"]["accuracy"] == parity["validation"]["reference_accuracy"] > 0.9
    assert 0 < found["latency"]["p50_milliseconds"] <= found["latency"]["p95_milliseconds"]


def test_a_wrong_export_is_kept_where_nothing_can_use_it(exported, place):
    folder = place.run / "export" / "wrong-float32"
    assert {path.name for path in folder.iterdir()} == {"model.wrong.rejected", "parity.json"}
    problem = entry(exported, "wrong")["problem"]
    assert "probabilities differ by up to" in problem and "accuracy falls by" in problem and problem in exported.stderr
    with pytest.raises(AutotlError, match="failed its parity check"):
        open_artefact(folder)


def test_a_model_that_needs_more_than_its_runtime_is_rejected(exported):
    assert "No module named 'keras'" in entry(exported, "greedy")["problem"]


def test_nothing_is_left_over(exported, place):
    names = {path.name for path in (place.run / "export").iterdir()}
    assert names == {"plain-float32", "onnx-float32", "wrong-float32", "greedy-float32"}


def test_the_card_says_what_the_file_is_how_near_and_how_to_run_it(exported, place):
    card = (place.run / "export" / "onnx-float32" / "MODEL_CARD.md").read_text()
    for words in ('library_name: "onnx"', "`model.onnx`", "images that keep their label | 100.0 % | 100.0 %",
                  "pip install numpy pillow onnxruntime", "python predict.py photos/"):  # fmt: skip
        assert words in card


@pytest.mark.parametrize("name", ["plain", "onnx"])
def test_every_format_is_opened_and_run_in_the_same_way(exported, place, plugin, name):
    artefact = open_artefact(place.run / "export" / f"{name}-float32")
    images = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    logits = (images / 127.5 - 1).mean(axis=(1, 2)) @ KERNEL
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = open_predictor(artefact)(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (artefact.format, artefact.class_names) == (name, NAMES)


def test_a_changed_export_is_refused_unless_it_is_trusted(exported, place, plugin, tmp_path):
    folder = Path(shutil.copytree(place.run / "export" / "plain-float32", tmp_path / "copy"))
    (folder / "model.plain").write_text(json.dumps([np.zeros((3, 3)).tolist(), [0, 0, 0]]))
    with pytest.raises(AutotlError, match=r"\(model\.plain\).*--trust"):
        open_artefact(folder)
    found = open_predictor(open_artefact(folder, trust=True))(np.zeros((2, SIZE, SIZE, 3), np.uint8))
    np.testing.assert_allclose(found, 1 / 3, atol=1e-6)
    (folder / "model.plain").write_text("no JSON")
    with pytest.raises(AutotlError, match="must run with the runtime of its format"):
        open_predictor(open_artefact(folder, trust=True))
    (folder / "model.plain").write_text(json.dumps([np.zeros((3, 2)).tolist(), [0, 0]]))
    with pytest.raises(AutotlError, match=r"gives \[2, 2\]"):
        open_predictor(open_artefact(folder, trust=True))(np.zeros((2, SIZE, SIZE, 3), np.uint8))


def test_an_exported_folder_is_not_exported_again(exported, place, plugin):
    with pytest.raises(UsageError, match="Give the run, or its model folder"):
        export_model(place.run / "export" / "plain-float32", ["plain"])


def test_an_export_takes_the_place_of_an_earlier_one_and_needs_no_images_unverified(place, tmp_path):
    (tmp_path / "plain-float32").mkdir()
    for name in ("left over", "parity.json"):
        (tmp_path / "plain-float32" / name).write_text("")
    found = place.export("--format", "plain", "--no-verify", "--out", tmp_path)
    assert (found.code, entry(found, "plain")["state"], entry(found, "plain")["parity"]) == (0, "unverified", None)
    assert "left over" not in {path.name for path in (tmp_path / "plain-float32").iterdir()}
    assert "was not checked" in (tmp_path / "plain-float32" / "MODEL_CARD.md").read_text()


def test_what_is_no_export_is_not_replaced(place, plugin, tmp_path):
    (tmp_path / "out" / "plain-float32").mkdir(parents=True)
    (tmp_path / "out" / "plain-float32" / "thesis.txt").write_text("dear")
    with pytest.raises(UsageError, match=r"plain-float32 is none .* another folder with --out"):
        export_model(place.run, ["plain"], out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["plain-float32", "thesis.txt"]


def test_a_format_whose_packages_are_missing_is_refused_before_any_work(place, plugin, tmp_path):
    with pytest.raises(AutotlError, match=r"pip install 'fake-formats\[absent\]'"):
        export_model(place.run, ["plain", "absent"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_is_every_format_that_can_be_written_here(plugin):
    targets, left_out = choose_targets(["plain", "all"], None, {"not_exported": {"wrong": "it is wrong"}}, True)
    names = [target.name for target in targets]
    assert names.count("plain-float32") == 1 and {"keras-float32", "onnx-float32"} <= set(names)
    reasons = {item.format: item.reason for item in left_out}
    assert reasons == {"absent": "no_such_package is not installed", "wrong": "it is wrong"}


@pytest.mark.parametrize("declared", ["onnx", "onnx:int8"])
def test_what_a_network_is_known_not_to_do_is_refused_with_the_reason(declared):
    with pytest.raises(UsageError, match="cannot be exported as onnx in int8: its attention is dynamic"):
        choose_targets(["onnx:int8"], None, {"not_exported": {declared: "its attention is dynamic"}}, False)


def test_a_model_whose_images_are_nowhere_says_what_to_do_and_leaves_nothing(place, plugin, tmp_path):
    shutil.copytree(place.run / "model", tmp_path / "model")
    with pytest.raises(UsageError, match=r"--data DATASET.*--no-verify"):
        export_model(tmp_path / "model", ["plain"])
    assert list((tmp_path / "export").iterdir()) == []


CHILDREN = """
import json, os, signal, subprocess, sys
from autotl.deliver.child import end_with_parent
end_with_parent()
beside = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("noise")
print(json.dumps({"pids": [os.getpid(), beside.pid]}), flush=True)
signal.pause()
"""


def test_what_ends_the_waiting_ends_the_child_and_its_children_at_once(tmp_path):
    found = []

    def stop(message):
        found.extend(map(psutil.Process, message["pids"]))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_child(["-c", CHILDREN], tmp_path / "log", stop, 60.0)
    assert psutil.wait_procs(found, timeout=20)[1] == []


def test_a_child_that_takes_too_long_is_ended_with_its_children_and_that_is_said(tmp_path):
    found = []
    ending = run_child(
        ["-c", CHILDREN], tmp_path / "log", lambda message: found.extend(map(psutil.Process, message["pids"])), 3.0
    )
    assert ending.words == "was ended since it was not done after 3 s"
    assert psutil.wait_procs(found, timeout=20)[1] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130)])
def test_no_child_outlives_an_export_that_is_ended(place, tmp_path, number, code):
    with place.start("--format", "slow", "--out", tmp_path / "out") as process:
        assert any(line.startswith("writes slow-float32") for line in process.stderr)  # waits until it does
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(number)
        assert psutil.wait_procs(children, timeout=20)[1] == []
        assert process.wait() == code
    assert number == signal.SIGKILL or list((tmp_path / "out").iterdir()) == []


SLEEPING_SCRIPT = """
import signal, sys
def load(folder):
    print("loads", file=sys.stderr, flush=True)
    signal.pause()
"""


def test_the_check_of_a_model_ends_with_its_parent(tmp_path):
    (tmp_path / "predict.py").write_text(SLEEPING_SCRIPT)
    (tmp_path / "job.json").write_text(
        json.dumps({"script": str(tmp_path / "predict.py"), "hidden": [], "answers": str(tmp_path)})
    )
    command = [sys.executable, child_verify.__file__, tmp_path / "job.json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stderr.readline() == b"loads\n"
        process.stdin.close()
        assert process.wait(timeout=20) == -signal.SIGKILL


def test_a_child_that_fails_is_told_by_the_last_line_of_its_log(tmp_path):
    ending = run_child(["-c", "raise ValueError('not today')"], tmp_path / "log", lambda message: None, 60.0)
    assert ending.words == "ended with exit code 1; its last words: ValueError: not today"


def test_a_child_that_ends_before_the_first_format_is_told_by_its_last_words(tmp_path):
    job = {"file": str(tmp_path / "no.keras"), "plugins": [{"distribution": "gone-nets", "version": "1"}]}
    with pytest.raises(PluginError, match="pip install gone-nets"):
        write_targets(job, [{"index": 0}], NO_IMAGES, tmp_path, lambda index: None)
    with pytest.raises(AutotlError, match=r"that one ended with exit code 1; its last words: KeyError: 'plugins'"):
        write_targets({"file": "x.keras"}, [{"index": 0}], NO_IMAGES, tmp_path, lambda index: None)


def test_a_rejected_export_leaves_an_earlier_one_that_can_be_used(exported, place, tmp_path):
    shutil.copytree(place.run / "export" / "plain-float32", tmp_path / "wrong-float32")
    found = place.export("--format", "wrong", "--out", tmp_path)
    assert entry(found, "wrong")["folder"] == str(tmp_path / "wrong-float32-rejected")
    assert (tmp_path / "wrong-float32" / "model.plain").exists()
    assert {path.name for path in (tmp_path / "wrong-float32-rejected").iterdir()} == {
        "model.wrong.rejected", "parity.json",
    }  # fmt: skip
