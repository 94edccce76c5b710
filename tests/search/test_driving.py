"""What a driver makes of a disk that is full."""

import errno
import sqlite3

import optuna
import pytest

from autotl.search.driving import is_disk_full


def database_error(tmp_path):
    """What Optuna raises where SQLite finds no room."""
    engine = {"creator": lambda: limited(tmp_path / "study.db")}
    storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs=engine)
    study = optuna.create_study(storage=storage)
    with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
        for number in range(1000):
            study.set_user_attr(f"much {number}", "x" * 2000)
    return caught.value


def limited(path):
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA max_page_count = 100")
    return connection


def test_a_full_disk_is_told_from_other_errors(tmp_path):
    assert is_disk_full(database_error(tmp_path))
    assert is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
    assert is_disk_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    with pytest.raises(sqlite3.Error) as caught:
        sqlite3.connect(":memory:").execute("SELECT x FROM nothing")
    assert not is_disk_full(caught.value)
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))
    assert not is_disk_full(ValueError("no"))
