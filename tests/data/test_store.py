import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data.store import Cache, default_cache_dir, default_max_bytes, key_of


def put(cache: Cache, key: str, size: int = 10, kind: str = "images") -> Path:
    temporary = cache.begin(kind)
    (temporary / "data").write_bytes(bytes(size))
    return cache.publish(kind, key, temporary)


def test_what_is_published_is_found_and_nothing_else(cache: Cache) -> None:
    assert cache.find("images", "k") is None
    path = put(cache, "k")
    assert cache.find("images", "k") == path and (path / "data").read_bytes() == bytes(10)
    assert cache.find("features", "k") is None and cache.find("images", "other") is None


def test_of_racing_producers_one_wins_and_all_get_its_entry(cache: Cache) -> None:
    barrier = threading.Barrier(8)
    results: list[tuple[Path, bytes]] = []

    def produce(number: int) -> None:
        temporary = cache.begin("images")
        (temporary / "data").write_bytes(bytes([number]) * 1000)
        barrier.wait()
        path = cache.publish("images", "k", temporary)
        results.append((path, (path / "data").read_bytes()))

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and len(set(results)) == 1
    assert [path.name for path in (cache.root / "images").iterdir()] == ["k"]


PRODUCER = """
import sys
from pathlib import Path
from autotl.data.store import Cache
cache = Cache(Path(sys.argv[1]), 10**9)
temporary = cache.begin("images")
(temporary / "data").write_bytes(b"x" * 1000)
print("ready", flush=True)
sys.stdin.readline()
cache.publish("images", "k", temporary)
"""


@pytest.mark.process
def test_processes_race_and_the_leftovers_of_a_killed_one_are_swept(cache: Cache) -> None:
    start = [sys.executable, "-c", PRODUCER, str(cache.root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    producers = [
        subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(3)
    ]
    for producer in producers:
        assert producer.stdout is not None and producer.stdout.readline() == "ready\n"
    assert cache.sweep() == 0  # all alive
    producers[0].kill()
    producers[0].communicate()
    for producer in producers[1:]:
        producer.communicate("go\n")
        assert producer.returncode == 0
    assert cache.find("images", "k") is not None
    assert cache.sweep() == 1
    assert [path.name for path in (cache.root / "images").iterdir()] == ["k"]


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60)), min_size=1), st.integers(1, 100))
def test_eviction_never_leaves_more_than_the_budget_and_never_takes_the_newest(
    tmp_path_factory: pytest.TempPathFactory, puts: list[tuple[int, int]], budget: int
) -> None:
    cache = Cache(tmp_path_factory.mktemp("cache"), budget)
    for key, size in puts:
        path = put(cache, str(key), size)
        kept = list((cache.root / "images").glob("*/data"))
        assert path / "data" in kept
        assert sum(file.stat().st_size for file in kept) <= budget or kept == [path / "data"]


def test_the_least_recently_used_entry_goes_first(cache: Cache) -> None:
    small = Cache(cache.root, 25)
    for age, key in enumerate("ab"):
        os.utime(put(small, key), ns=(age, age))
    small.find("images", "a")
    put(small, "c")
    assert sorted(path.name for path in (cache.root / "images").iterdir()) == ["a", "c"]


def test_a_builder_that_fails_leaves_nothing(cache: Cache) -> None:
    with pytest.raises(KeyboardInterrupt), cache.building("images") as folder:
        (folder / "data").write_bytes(b"half")
        raise KeyboardInterrupt
    assert list((cache.root / "images").iterdir()) == []


def test_locks_hold_one_producer_at_a_time(cache: Cache) -> None:
    inside: list[int] = []

    def work() -> None:
        with cache.lock("images", "k"):
            inside.append(1)
            assert len(inside) == 1
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.evict() == 0


def test_who_waits_for_a_lock_says_so(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    class Said(io.StringIO):
        any = threading.Event()

        def write(self, text: str) -> int:
            self.any.set()
            return super().write(text)

    said, entered = Said(), threading.Event()

    def wait() -> None:
        with cache.lock("images", "k"):
            entered.set()

    monkeypatch.setattr("autotl.data.store.SAY_SECONDS", 0.01)
    monkeypatch.setattr(sys, "stderr", said)
    waiting = threading.Thread(target=wait)
    with cache.lock("images", "k"):
        waiting.start()
        assert said.any.wait(20)
        assert not entered.is_set()
    waiting.join()
    assert entered.is_set()
    assert "which makes images k" in said.getvalue()


def test_keys_depend_on_content_and_not_on_order() -> None:
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1}) != key_of({"a": 1, "b": [2, 1]})
    with pytest.raises(ValueError, match="Out of range"):
        key_of({"a": float("nan")})


def test_the_default_place_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(tmp_path / "here"))
    assert default_cache_dir() == tmp_path / "here"
    assert 0 < default_max_bytes(tmp_path / "here") <= 50 * 10**9
