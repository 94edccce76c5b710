import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autotl import __version__
from autotl.cli.main import COMMANDS, cli


def run_process(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "autotl", *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )


def leaf_commands():
    commands = {name: cli.get_command(None, name) for name in COMMANDS}
    leaves = {name: list(getattr(command, "commands", [])) for name, command in commands.items()}
    return [[name, *words] for name, found in leaves.items() for words in ([[leaf] for leaf in found] or [[]])]


def test_the_version_is_told(autotl):
    assert autotl("--version").out == f"autotl {__version__}\n"


def test_help_lists_every_command(autotl):
    answer = autotl("--help")
    assert answer.code == 0
    assert all(name in answer.out and about in answer.out for name, (_, about) in COMMANDS.items())


@pytest.mark.parametrize("words", leaf_commands(), ids=" ".join)
def test_every_command_has_examples_and_json(autotl, words):
    answer = autotl(*words, "--help")
    assert answer.code == 0
    assert "Examples:" in answer.out and f"autotl {' '.join(words)}" in answer.out.split("Examples:")[1]
    assert "--json" in answer.out and "--verbose" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serch", "photos"], "Did you mean 'search'?"),
        (["search"], "Missing argument 'DATASET'"),
        (["search", "photos", "--trails", "3"], "Did you mean"),
        (["search", "photos", "--trials", "0"], "0 is not in the range"),
        (["search", "photos", "--metric", "f1"], "'f1' is not one of"),
        (["search", "photos", "--budget", "10"], "like 90s, 10m or 1h30m, not '10'"),
        (["search", "photos", "--space", "quik"], "Did you mean quick"),
        (["search", "photos", "--seed", "-1"], "seed"),
        (["backbones", "show", "vgg-16"], "Did you mean vgg16"),
        (["backbones", "shwo"], "Did you mean 'show'"),
        (["spaces", "show", "standart"], "Did you mean standard"),
        (["status", "nowhere"], "nowhere"),
        (["resume", "nowhere"], "nowhere"),
        (["stop", "nowhere"], "nowhere"),
        (["stop", "nowhere", "--now", "--finish"], "give --now or --finish"),
        (["report", "nowhere"], "nowhere"),
        (["predict", "nowhere", "x.jpg"], "x.jpg"),
        (["predict", "model", "x.jpg", "--csv", "--json"], "exclude"),
        (["evaluate", "model", "photos", "--split", "tset"], "tset"),
        (["evaluate", "nowhere", "photos"], "nowhere"),
    ],
)
def test_a_wrong_request_has_exit_code_2_and_a_way_out(autotl, arguments, message):
    answer = autotl(*arguments)
    assert answer.code == 2
    assert message in answer.err and "Traceback" not in answer.err
    if "--json" not in arguments:
        assert answer.out == ""


def test_unusable_data_has_exit_code_3(autotl, tmp_path):
    assert autotl("data", "check", tmp_path / "nowhere").code == 3
    (tmp_path / "only" / "cats").mkdir(parents=True)
    assert autotl("data", "check", tmp_path / "only").code == 3


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (["status", "nowhere"], "usage", 2),
        (["search"], "usage", 2),
        (["search", "--no-such-option", "x"], "usage", 2),
        (["no-such-command"], "usage", 2),
        (["data", "check", "nowhere"], "data", 3),
    ],
)
def test_with_json_an_error_is_the_one_object_on_stdout(autotl_json, arguments, kind, code):
    answer, found = autotl_json(*arguments)
    assert found == code
    assert list(answer) == ["error"] and answer["error"]["kind"] == kind and answer["error"]["message"]


def test_json_after_two_dashes_is_no_option(autotl):
    assert autotl("status", "--", "--json").out == ""


def test_an_unexpected_error_is_one_line_and_a_log_for_most_people(finished_run, autotl, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (finished_run.path / "result.json").write_text("{ no JSON")
    answer = autotl("status", finished_run.path)
    assert answer.code == 1
    assert "Error: JSONDecodeError" in answer.err and "Traceback" not in answer.err
    (log,) = tmp_path.glob("autotl-error-*.log")
    assert str(log) in answer.err and "Traceback" in log.read_text()


def test_developers_get_the_traceback(finished_run, autotl, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (finished_run.path / "result.json").write_text("{ no JSON")
    assert "Traceback" in autotl("status", finished_run.path, "-v").err
    monkeypatch.setenv("AUTOTL_DEBUG", "1")
    assert "Traceback" in autotl("status", finished_run.path).err


def test_a_reader_who_has_seen_enough_gets_no_traceback():
    command = f"{sys.executable} -m autotl spaces show standard | {sys.executable} -c pass"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert answer.stderr == ""


@pytest.mark.process
def test_a_full_disk_is_said_in_words():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "autotl", "spaces", "list", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: the disk is full. Make room, and give the same command again.\n"


def test_stdout_is_the_result_alone_in_a_real_process():
    answer = run_process("backbones", "list", "--json")
    assert answer.returncode == 0
    assert "vgg16" in [item["name"] for item in json.loads(answer.stdout)["backbones"]]


def test_output_survives_a_terminal_that_cannot_show_it(tmp_path):
    (tmp_path / "d\u00e9mo\udcff.toml").write_text("[[stage]]\n")
    answer = run_process("spaces", "show", str(tmp_path / "d\u00e9mo\udcff.toml"), PYTHONIOENCODING="ascii")
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr and "stage[0].name" in answer.stderr
