"""docs/plugins.md does what it says: its marked blocks are executed, in order, in a fresh virtual environment."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from autotl.runs.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]

DOCUMENT = Path(__file__).parents[2] / "docs" / "plugins.md"
BLOCK = re.compile(r"^<!-- (run|file) ?(\S*) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    kind: str
    name: str
    text: str


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    return [Block(*found.groups()) for found in BLOCK.finditer(DOCUMENT.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def folder(blocks: list[Block], fresh_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything was executed."""
    place = tmp_path_factory.mktemp("tutorial")
    environment = {**fresh_environment, "AUTOTL_CACHE_DIR": str(place / "cache")}
    for block in blocks:
        if block.kind == "file":
            (place / block.name).write_text(block.text)
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", block.text], cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        with (place / "output.txt").open("a") as output:
            output.write(done.stdout)
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr[-3000:]}"
    return place


def test_all_steps_are_marked(blocks: list[Block]) -> None:
    text = "".join(block.text for block in blocks if block.kind == "run")
    steps = ("plugins new", "pip install", "plugins check", "pytest", "--backbone my-network", "--space my-space.toml")
    assert [step for step in steps if step not in text] == []
    assert [block.name for block in blocks if block.kind == "file"] == ["my-space.toml"]


def test_both_plugins_pass_and_both_searches_deliver_a_model(folder: Path) -> None:
    output = (folder / "output.txt").read_text()
    assert output.count("contract") >= 2
    runs = sorted((folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime)
    assert len(runs) == 2
    for run in runs:
        assert (run / "model" / "model.keras").is_file()
        assert read_json(run / "result.json")["best"]["backbone"] == "my-network"
    assert read_json(runs[1] / "result.json")["best"]["head"] == "my-head"


def test_the_search_says_that_the_weights_were_random(folder: Path) -> None:
    for run in (folder / "runs").iterdir():
        assert read_json(run / "result.json")["best"]["weights"] == "random"
        card = (run / "model" / "MODEL_CARD.md").read_text()
        assert "none: nothing has been trained yet" in card
