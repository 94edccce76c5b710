import tomllib

import numpy as np
import pytest
from PIL import Image

from autotl.cli.words import METRIC_NAMES
from autotl.search.request import METRICS


@pytest.fixture
def photos(tmp_path):
    """Two classes of twelve pictures of noise, and a file that is none."""
    generator = np.random.default_rng(0)
    for name in ("cats", "[red]dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(12):
            pixels = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    (tmp_path / "photos" / "cats" / "broken.jpg").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_backbones_are_listed_with_their_state_and_licence(autotl, autotl_json):
    answer = autotl("backbones", "list")
    assert answer.code == 0
    (line,) = [line for line in answer.out.splitlines() if line.startswith("vgg16")]
    assert "14.7 M" in line and "CC-BY-4.0" in line
    listed, _ = autotl_json("backbones", "list")
    assert {"name", "available", "parameters", "distribution", "problem"} <= set(listed["backbones"][0])


def test_a_backbone_is_shown_with_its_weights(autotl, autotl_json):
    assert "arxiv.org" in autotl("backbones", "show", "vgg16").out
    shown, code = autotl_json("backbones", "show", "vgg16")
    assert code == 0 and shown["entry_point"] == "autotl.backbones.applications:VGG16"


def test_spaces_are_listed_with_what_they_cost(autotl, autotl_json):
    assert "Costs" in autotl("spaces", "list").out
    listed, _ = autotl_json("spaces", "list")
    assert {"quick", "standard"} <= {space["name"] for space in listed["spaces"]}


def test_a_shown_space_is_a_file_to_start_from(autotl, autotl_json, tmp_path):
    answer = autotl("spaces", "show", "quick")
    assert answer.out.startswith("# /") and tomllib.loads(answer.out)["stage"]
    (tmp_path / "mine.toml").write_text(answer.out)
    shown, code = autotl_json("spaces", "show", tmp_path / "mine.toml")
    assert code == 0 and shown["stages"][0]["parameters"][0]["name"] == "backbone"


def test_a_data_set_is_checked(autotl, autotl_json, photos):
    answer = autotl("data", "check", photos)
    assert answer.code == 0
    assert "24 images of 25 files" in answer.out and "broken.jpg" in answer.out and "[red]dogs" in answer.out
    report, _ = autotl_json("data", "check", photos)
    assert report["images"] == 24 and report["decoded"] == 0, "the second check reads the cached result"


def test_the_cache_can_be_elsewhere(autotl, photos, tmp_path, own_cache):
    autotl("data", "check", photos, "--cache-dir", tmp_path / "elsewhere")
    assert list((tmp_path / "elsewhere").iterdir()) and not list(own_cache.iterdir())


def test_the_doctor_says_what_is_there_and_what_to_do(autotl, autotl_json):
    found, code = autotl_json("doctor")
    assert code == 0
    assert {check["name"] for check in found["checks"]} >= {
        "python",
        "packages",
        "machine",
        "gpus",
        "cache",
        "backbones",
    }
    assert all(check["advice"] for check in found["checks"] if check["status"] == "warning")
    assert "python" in autotl("doctor").out


def test_an_unfinished_run_is_shown_with_its_best_and_how_to_go_on(autotl, autotl_json, unfinished_run):
    answer = autotl("status", unfinished_run.path)
    assert answer.code == 0
    assert "interrupted" in answer.out and "best: trial 2, score 0.8000" in answer.out
    assert f"autotl resume {unfinished_run.path}" in answer.out
    found, _ = autotl_json("status", unfinished_run.path)
    assert found["trials"]["complete"] == 2 and found["best"]["number"] == 2


def test_a_finished_run_is_shown_with_its_result(autotl, autotl_json, finished_run, result):
    assert "0.700 (95 % interval 0.620 to 0.780), 120 images" in autotl("status", finished_run.path).out
    found, _ = autotl_json("status", finished_run.path)
    assert found["result"] == result


def test_resuming_a_finished_run_gives_its_result(autotl, autotl_json, finished_run, result):
    answer = autotl("resume", finished_run.path)
    assert answer.code == 0
    assert f"Next:  autotl predict {result['model']} IMAGE..." in answer.out
    assert autotl_json("resume", finished_run.path)[0] == result


def test_a_run_that_never_had_a_job_cannot_be_gone_on_with(autotl, unfinished_run):
    answer = autotl("resume", unfinished_run.path)
    assert answer.code == 2
    assert "was killed before. Remove the folder" in answer.err


def test_a_report_is_written_and_its_path_printed(autotl, finished_run):
    answer = autotl("report", finished_run.path)
    assert answer.code == 0
    assert answer.out.strip() == str(finished_run.report_path) and finished_run.report_path.is_file()


def test_the_metrics_of_the_command_line_are_those_of_a_request():
    """`cli` may not import `search`, so both keep their own list; this keeps them equal."""
    assert list(METRIC_NAMES) == list(METRICS)
