"""Distributions that are really installed, as far as Python can tell: modules and metadata in a folder of its path."""

from pathlib import Path

import pytest


class Site:
    """A folder on the import path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, distribution: str, module: str, code: str, entry_points: str) -> None:
        """Put a module there, and the metadata of a distribution with these entry points."""
        (self.path / f"{module}.py").write_text(code)
        metadata = self.path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(tmp_path)
    return Site(tmp_path)
