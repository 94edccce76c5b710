"""Small pictures, each different from all others."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotl.data.store import Cache


def picture(seed: int, side: tuple[int, int] = (40, 32)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(side, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def png() -> Callable[..., bytes]:
    """The bytes of a picture by number."""
    return lambda seed, **options: encoded(picture(seed, **options))


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    return lambda seed, quality=80, side=(40, 32): encoded(picture(seed, side), "JPEG", quality=quality)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Write named contents below a fresh folder and return it."""

    def write_all(files: dict[str, bytes]) -> Path:
        root = tmp_path / "dataset"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return root

    return write_all


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    def zip_all(files: dict[str, bytes]) -> Path:
        path = tmp_path / "dataset.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    return zip_all


@pytest.fixture
def two_classes(png: Callable[..., bytes]) -> dict[str, bytes]:
    """Twenty different pictures of each of two classes."""
    return {
        f"{label}/{n:02}.png": png(1000 * index + n) for index, label in enumerate(("cat", "dog")) for n in range(20)
    }


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 10**9)
