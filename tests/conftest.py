"""What all tests share: nothing of a test reaches the user's own cache."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(folder))
    return folder
