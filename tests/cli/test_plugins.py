"""`autotl plugins`, with distributions that are really registered: modules on the import path and their metadata."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

RECORD = """
from autotl.backbones.contract import Backbone, Weights

def build(image_size, weights):
    raise RuntimeError("no memory for layers")

def record(name, api_version=1):
    return Backbone(
        name=name, build=build, image_size=64, min_image_size=32, parameters=1,
        weights=Weights("nowhere", None, "CC0-1.0", "nothing"), imagenet_top1=None, reference="https://example.org",
        available=lambda: True, api_version=api_version,
    )
"""
BACKBONES = "autotl.backbones"
SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 1
evaluation = "cross_validation"
[stage.parameters]
backbone = { choice = ["installed"] }
image_size = { choice = [64] }
penalty = { choice = [1e-3] }
"""


class Site:
    """A folder on the import path with real distributions in it."""

    def __init__(self, path: Path):
        self.path = path

    def install(self, distribution: str, code: str, *names: str, group: str = BACKBONES) -> None:
        """Register names of a distribution, each as the object THING of one module that holds the code."""
        module = distribution.replace("-", "_")
        (self.path / f"{module}.py").write_text(RECORD + code)
        metadata = self.path / f"{module}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        entries = "".join(f"{name} = {module}:THING\n" for name in names)
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{entries}")


@pytest.fixture
def site(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    return Site(tmp_path / "site")


@pytest.fixture
def run(site, tmp_path):
    """Runs a command line in a process of its own that finds the fake distributions."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "autotl", *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(site.path)},
        )  # fmt: skip
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)

    return run


def install_broken_ones(site: Site) -> None:
    site.install("bad-import", "raise ValueError('no luck today')", "bad-import-net")
    site.install("bad-exit", "print('goodbye'); raise SystemExit(3)", "bad-exit-net")
    site.install("bad-build", "THING = record('bad-build-net')", "bad-build-net")
    site.install("bad-version", "THING = record('bad-version-net', api_version=99)", "bad-version-net")
    site.install("twice-one", "THING = record('twice-net')", "twice-net")
    site.install("twice-two", "THING = record('twice-net')", "twice-net")


def test_each_broken_plugin_is_listed_for_what_it_is(site, run):
    install_broken_ones(site)
    answer = run("plugins", "list", "--json")
    assert answer.code == 0
    assert "goodbye" in answer.err
    listed = json.loads(answer.out)["plugins"]  # one object, although a plugin printed something
    found = {item["distribution"]: item["entries"][0] for item in listed}
    states = {name: entry["status"] for name, entry in found.items() if name.startswith(("bad", "twice"))}
    assert states == {
        "bad-import": "failed", "bad-exit": "failed", "bad-build": "ok", "bad-version": "incompatible",
        "twice-one": "duplicate", "twice-two": "duplicate",
    }  # fmt: skip
    assert "ValueError: no luck today" in found["bad-import"]["problem"]
    assert found["bad-import"]["exception"] == "ValueError" and found["bad-build"]["exception"] is None
    assert "SystemExit: 3" in found["bad-exit"]["problem"]
    assert "API version 1" in found["bad-version"]["problem"] and "99" in found["bad-version"]["problem"]
    assert all(owner in found["twice-one"]["problem"] for owner in ("twice-one", "twice-two"))
    assert {entry["status"] for item in listed if item["distribution"] == "autotl" for entry in item["entries"]} == {
        "ok"
    }


def test_people_see_one_block_for_a_distribution(site, autotl):
    names = [f"many-{number}" for number in range(60)]
    site.install("many-nets", "THING = record('many-0')", *names)
    site.install("odd-source", "THING = 7", "odd", group="autotl.backbone_sources")
    site.install("a-head", "THING = record('my-head')", "my-head", group="autotl.heads")
    answer = autotl("plugins", "list")
    assert answer.code == 0
    blocks = {block.splitlines()[0]: block for block in answer.out.strip().split("\n\n")}
    assert "3 heads: cosine, linear, mlp" in blocks[next(name for name in blocks if name.startswith("autotl "))]
    assert "ok: 1 backbone: many-0" in blocks["many-nets 1.2"]
    assert "failed: head my-head" in blocks["a-head 1.2"] and "autotl.heads.contract.Head" in blocks["a-head 1.2"]
    assert "failed: backbone source odd: A backbone source must be a function" in blocks["odd-source 1.2"]


def test_many_names_that_work_stay_compact(autotl):
    answer = autotl("plugins", "list")
    (block,) = [block for block in answer.out.split("\n\n") if block.startswith("autotl ")]
    assert len(block.splitlines()) < 15
    assert "convnext-base" in block and "and 28 more (--json has all)" in block
    assert all(len(line) <= 100 for line in block.splitlines())


@pytest.mark.parametrize("name", ["bad-import-net", "twice-net", "bad-version-net"])
def test_checking_a_plugin_that_cannot_be_loaded_says_why(site, run, name):
    install_broken_ones(site)
    answer = run("plugins", "check", name)
    assert answer.code == 1
    assert f"backbone {name}" in answer.out and "BROKEN  loading" in answer.out


@pytest.mark.keras
def test_checking_a_plugin_whose_build_raises_names_the_rule(site, run):
    install_broken_ones(site)
    answer = run("plugins", "check", "bad-build", "--json")
    assert answer.code == 1
    report = json.loads(answer.out)
    assert report["passed"] is False
    (checked,) = report["checked"]
    assert (checked["kind"], checked["name"]) == ("backbone", "bad-build-net")
    assert {"name", "text", "found", "advice"} <= set(checked["broken"])
    assert "no memory for layers" in checked["broken"]["found"]


@pytest.mark.keras
def test_checking_a_head_shows_what_was_measured(autotl):
    answer = autotl("plugins", "check", "linear")
    assert answer.code == 0
    assert answer.out.startswith("head linear\n")
    assert "learning" in answer.out and "It keeps the contract" in answer.out


def test_an_unknown_name_is_a_usage_error(autotl):
    answer = autotl("plugins", "check", "liner")
    assert answer.code == 2
    assert "Did you mean linear?" in answer.err


def test_a_new_plugin_is_written_with_what_to_do_next(autotl, autotl_json, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = autotl("plugins", "new", "my-network", "--kind", "backbone")
    assert answer.code == 0
    assert "pip install ./my-network" in answer.out and "autotl plugins check my-network" in answer.out
    written, code = autotl_json("plugins", "new", "my-head", "--kind", "head", "--out", tmp_path / "heads")
    assert code == 0 and (tmp_path / "heads" / "my-head" / "my_head" / "__init__.py").is_file()
    assert written["kind"] == "head" and "pyproject.toml" in written["files"]


def test_a_new_plugin_is_never_written_over_another(autotl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-network").mkdir()
    answer = autotl("plugins", "new", "my-network", "--kind", "backbone")
    assert answer.code == 2 and "exists" in answer.err


@pytest.mark.keras
@pytest.mark.process
@pytest.mark.slow
def test_a_search_with_another_backbone_runs_beside_broken_plugins(site, run, tmp_path):
    install_broken_ones(site)
    (tmp_path / "tiny.toml").write_text(SPACE)
    answer = run(
        "search", "sample:clipart", "--space", "tiny.toml", "--backbone", "efficientnet-lite0", "--out", "run",
        "--cache-dir", "cache", "--json", "-q",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["best"]["backbone"] == "efficientnet-lite0"


@pytest.mark.parametrize(
    ("name", "words"),
    [("bad-import-net", "no luck today"), ("bad-version-net", "API version"), ("twice-net", "twice-two")],
)
def test_a_search_with_a_broken_backbone_says_what_is_wrong_with_it(site, run, name, words):
    install_broken_ones(site)
    answer = run("search", "sample:clipart", "--space", "smoke", "--backbone", name, "--out", "run")
    assert answer.code == 1
    assert words in answer.err


@pytest.mark.process
@pytest.mark.slow
def test_a_search_with_a_backbone_whose_build_raises_says_so(site, run, tmp_path):
    install_broken_ones(site)
    (tmp_path / "tiny.toml").write_text(SPACE)
    answer = run(
        "search", "sample:clipart", "--space", "tiny.toml", "--backbone", "bad-build-net", "--out", "run",
        "--cache-dir", "cache",
    )  # fmt: skip
    assert answer.code == 4
    assert "RuntimeError: no memory for layers" in answer.err
