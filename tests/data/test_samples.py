from pathlib import Path

import pytest

from autotl.data.samples import list_samples, resolve_dataset
from autotl.errors import DataError


def test_shipped_samples_resolve_to_files() -> None:
    for name in list_samples():
        assert resolve_dataset(f"sample:{name}").is_file()


def test_unknown_samples_and_missing_paths_list_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is: "):
        resolve_dataset("sample:unicorns")
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="has photos"):
        resolve_dataset(str(tmp_path / "fotos"))
    assert resolve_dataset(str(tmp_path / "photos")) == tmp_path / "photos"
