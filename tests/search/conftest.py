"""A run directory with a small real data set, and the driver's steps over it with jobs in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autotl.data.check import check_dataset
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.execution.inline import InlineExecutor
from autotl.runs.directory import Run, create_run
from autotl.runs.events import append_event
from autotl.search.context import Context, Plugins
from autotl.search.dispatch import Dispatcher
from autotl.search.heads import resolve_heads
from autotl.search.plan import resolve_backbones, space_backbones
from autotl.search.request import SearchRequest
from autotl.space.files import read_space
from autotl.space.schema import SearchSpace

HERE = Path(__file__).parent
COLOURS = {"blue": (0, 0, 70), "green": (0, 70, 0), "red": (70, 0, 0)}


@pytest.fixture
def targets_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def make_space(tmp_path: Path) -> Callable[[str], SearchSpace]:
    """Reads a space from the text of its file."""

    def make(text: str) -> SearchSpace:
        path = tmp_path / "space.toml"
        path.write_text(text)
        return read_space(path)

    return make


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of twelve pictures of coloured noise."""
    root = tmp_path_factory.mktemp("data") / "images"
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for index in range(12):
            noise = generator.integers(0, 180, (6, 6, 3)) + np.array(colour)
            picture = Image.fromarray(noise.astype(np.uint8)).resize((40, 36), Image.Resampling.BICUBIC)
            picture.save(root / name / f"{index:02}.png")
    return root


@pytest.fixture
def manifest(images: Path) -> Manifest:
    return check_dataset(str(images), seed=0).manifest


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(tmp_path / "run", {"dataset": "images", "metric": "log_loss"})


@pytest.fixture
def told() -> list[dict[str, Any]]:
    """What a search tells the person who watches."""
    return []


@pytest.fixture
def make_context(run: Run, manifest: Manifest, tmp_path: Path, told: list[dict[str, Any]]) -> Callable[..., Context]:
    """A search over a space, with jobs in this process."""

    def make(space: SearchSpace, *, cache: Cache | None = None, **request: Any) -> Context:
        manifest.write(run.manifest_path)
        return Context(
            SearchRequest("images", **request),
            space,
            Plugins(resolve_backbones(space_backbones(space)), resolve_heads(space)),
            manifest,
            Cache(tmp_path / "cache", 10**9) if cache is None else cache,
            run,
            Dispatcher(InlineExecutor(), lambda kind, **fields: append_event(run, kind, **fields)),
            told.append,
        )

    return make


@pytest.fixture
def fitted(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A completed trial with its validation file: the probability of the true class for every image."""

    def make(number: int, backbone: str, chosen: Any, multiply_adds: int, **config: Any) -> dict[str, Any]:
        chosen = np.asarray(chosen, dtype=float)
        folder = tmp_path / str(number)
        folder.mkdir()
        labels = np.arange(len(chosen)) % 2
        probabilities = np.where(np.eye(2, dtype=bool)[labels], chosen[:, None], 1 - chosen[:, None])
        np.savez(folder / "validation.npz", probabilities=probabilities, labels=labels, rows=np.arange(len(chosen)))
        loss = float(-np.log(chosen).mean())
        return {
            "number": number, "state": "complete", "score": loss, "config": {"backbone": backbone, **config},
            "folder": str(folder), "scores": {"log_loss": loss}, "temperature": 1.0, "multiply_adds": multiply_adds,
        }  # fmt: skip

    return make
