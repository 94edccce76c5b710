"""What `autotl search` refuses of networks and licences, before anything starts."""

import zipfile

import pytest

BOUND = """
from autotl.backbones.contract import Backbone, Weights

NET = Backbone(
    name="cli-bound-net", build=lambda image_size, weights: None, image_size=64, min_image_size=32, parameters=1,
    weights=Weights("PyPI", None, "Meta-X", "nothing", "No military use."), imagenet_top1=None, reference="",
    available=lambda: True,
)
"""


@pytest.fixture
def bound_net(tmp_path, monkeypatch):
    metadata = tmp_path / "site" / "cli_bound_nets-1.2.dist-info"
    metadata.mkdir(parents=True)
    (tmp_path / "site" / "cli_bound_nets.py").write_text(BOUND)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cli-bound-nets\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text("[autotl.backbones]\ncli-bound-net = cli_bound_nets:NET\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return "cli-bound-net"


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_restricting_licence_is_refused_with_the_flag_that_accepts_it(autotl, autotl_json, bound_net, here):
    answer, code = autotl_json("search", "sample:clipart", "--backbone", bound_net, "-q")
    assert (code, answer["error"]["kind"]) == (2, "usage")
    for words in ("cli-bound-net", "Meta-X", "No military use.", "--accept-licence Meta-X"):
        assert words in answer["error"]["message"]
    answer, code = autotl_json(
        "search",
        "no-such-photos",
        "--backbone",
        bound_net,
        "--accept-licence",
        "MIT",
        "--accept-licence",
        "Meta-X",
        "-q",
    )
    assert code in (2, 3) and "no-such-photos" in answer["error"]["message"]  # it came as far as the data
    assert list(here.iterdir()) == []


def test_a_file_of_keras_without_a_normalisation_is_refused_with_the_modes(autotl_json, here):
    with zipfile.ZipFile(here / "mine.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    answer, code = autotl_json("search", "sample:clipart", "--backbone", "mine.keras", "-q")
    assert (code, answer["error"]["kind"]) == (2, "usage")
    assert "--normalisation MODE, one of inside, unit, symmetric, caffe, torch" in answer["error"]["message"]
    assert [path.name for path in here.iterdir()] == ["mine.keras"]


def test_a_normalisation_without_a_network_of_your_own_is_refused(autotl_json, here):
    answer, code = autotl_json("search", "sample:clipart", "--normalisation", "unit", "-q")
    assert code == 2
    assert "--backbone my-network.keras" in answer["error"]["message"]
