"""What cannot be searched is refused by the command line before anything heavy starts, with its own exit code."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def autotl_search(tmp_path):
    """Runs `autotl search ... --json` in a process of its own and in an empty folder."""

    def run(*arguments):
        command = [sys.executable, "-m", "autotl", "search", *map(str, arguments), "--json", "-q"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
        return done.returncode, json.loads(done.stdout)["error"], done.stderr

    return run


@pytest.fixture
def one_class(tmp_path):
    folder = tmp_path / "photos" / "cats"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(12):
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder.parent


@pytest.mark.process
def test_one_class_is_invalid_data(autotl_search, one_class, tmp_path):
    code, error, err = autotl_search(one_class)
    assert (code, error["kind"]) == (3, "data")
    assert "cats" in error["message"]
    assert error["message"] in err
    assert not (tmp_path / "runs").exists()


def test_an_unknown_backbone_is_a_usage_error_with_the_one_that_was_meant(autotl_search, tmp_path):
    code, error, _ = autotl_search("sample:clipart", "--backbone", "efficentnet-lite0")
    assert (code, error["kind"]) == (2, "usage")
    assert "Did you mean efficientnet-lite0?" in error["message"]
    assert not (tmp_path / "runs").exists()


def test_a_space_that_does_not_exist_is_a_usage_error(autotl_search):
    code, error, _ = autotl_search("sample:clipart", "--space", "quik")
    assert (code, error["kind"]) == (2, "usage")
    assert "Did you mean quick?" in error["message"]


@pytest.mark.process
def test_a_data_set_that_does_not_exist_is_refused(autotl_search):
    code, error, _ = autotl_search("no-such-photos")
    assert code in (2, 3)
    assert "no-such-photos" in error["message"]


@pytest.mark.process
def test_a_folder_that_holds_other_files_is_no_place_for_a_run(autotl_search, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    code, error, _ = autotl_search("sample:clipart", "--out", tmp_path / "mine", "--backbone", "efficientnet-lite0")
    assert (code, error["kind"]) == (2, "usage")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
