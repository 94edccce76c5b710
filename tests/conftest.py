"""What all tests share: nothing of a test reaches the user's own cache."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """Two processes share the tests file by file; whole searches stay together, because they share their first run."""
    for item in items:
        path = item.path.relative_to(ROOT)
        group = "end_to_end" if "end_to_end" in path.parts else str(path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(folder))
    return folder
