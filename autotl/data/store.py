"""A content-addressed cache of directories: the name says what is inside, so an entry never changes and never lies.

An entry is built in a temporary directory on the same file system and published by one rename. Renaming onto a
directory that is not empty fails, so of several producers one wins and the others take its result; locks only save
double work. A killed producer leaves a temporary directory behind, which `sweep` removes.
"""

import hashlib
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

MAX_BYTES = 50 * 10**9
MAX_SHARE_OF_FREE_DISK = 0.2
SAY_SECONDS = 60.0
GIVEN = "arrays"
"""The kind of what was given to autotl in memory: nothing on disk can make it anew, so its entries go last."""
_TEMPORARY = ".tmp-"
_TRASH = ".trash-"
_LOCKS = ".locks"


def default_cache_dir() -> Path:
    """`AUTOTL_CACHE_DIR`, or the place this operating system has for caches."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("AUTOTL_CACHE_DIR")
    return Path(chosen).expanduser() if chosen else user_cache_path("autotl")


def default_max_bytes(root: Path) -> int:
    """A fifth of the disk that is free (or already taken by the cache's own entries), at most 50 GB."""
    existing = next(path for path in (root, *root.absolute().parents) if path.exists())
    available = shutil.disk_usage(existing).free + sum(size for _, size, _ in _entries(root))
    return min(int(available * MAX_SHARE_OF_FREE_DISK), MAX_BYTES)


def key_of(spec: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of `spec`: equal specs have equal keys, whatever their order."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Cache:
    """Entries are directories `root/kind/key`; all stay within `max_bytes`, the least recently used go first.

    Those of the kind `GIVEN` go after all others.
    """

    root: Path
    max_bytes: int

    def find(self, kind: str, key: str) -> Path | None:
        """The entry, marked as just used, or None. An entry may be evicted at any time: open it at once."""
        path = self.root / kind / key
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def begin(self, kind: str) -> Path:
        """A fresh temporary directory to build an entry in; `publish` it or remove it."""
        path = self.root / kind / f"{_TEMPORARY}{os.getpid()}-{_host()}-{secrets.token_hex(6)}"
        path.mkdir(parents=True)
        return path

    @contextmanager
    def building(self, kind: str) -> Iterator[Path]:
        """`begin`, and removal of whatever was not published when the block ends, also by an exception."""
        path = self.begin(kind)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, kind: str, key: str, temporary: Path) -> Path:
        """Make a built directory visible under its key, durably and at once, then evict what no longer fits.

        Returns:
            The entry's path: this one or, when another producer was faster, the other's.
        """
        path = self.root / kind / key
        _sync(temporary)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
            shutil.rmtree(temporary, ignore_errors=True)
            os.utime(path)
            return path
        os.utime(path)
        _sync_directory(path.parent)
        self.evict(keep=path)
        return path

    @contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """One producer a key at a time; freed by the kernel when its holder dies.

        Whoever waits says so now and then: to the driver, a job that is silent and does nothing hangs.
        """
        folder = self.root / _LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{kind}-{key}", timeout=SAY_SECONDS)
        while not lock.is_locked:
            try:
                lock.acquire()
            except Timeout:
                print(f"waits for another process, which makes {kind} {key}", file=sys.stderr)
        try:
            yield
        finally:
            lock.release()

    def evict(self, keep: Path | None = None) -> int:
        """Remove the least recently used entries until the rest fit into `max_bytes`; `keep` stays in any case.

        Removal is a rename and a deletion, so nobody finds half an entry. Maps that are open stay readable (POSIX).

        Returns:
            The bytes freed.
        """
        entries = sorted(_entries(self.root), key=lambda entry: (entry[2].parent.name == GIVEN, entry))
        excess = sum(size for _, size, _ in entries) - self.max_bytes
        freed = 0
        for _, size, path in entries:
            if freed >= excess:
                break
            if path == keep:
                continue
            trash = path.with_name(_TRASH + secrets.token_hex(8))
            with suppress(FileNotFoundError):  # another process evicted it: it is gone either way
                path.rename(trash)
                shutil.rmtree(trash, ignore_errors=True)
            freed += size
        return freed

    def sweep(self) -> int:
        """Remove what dead producers of this machine and interrupted evictions left. Returns how many directories."""
        left = [path for path in self.root.glob(f"*/{_TEMPORARY}*") if _is_dead(path.name)]
        left += list(self.root.glob(f"*/{_TRASH}*"))
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        return len(left)


def default_cache() -> Cache:
    """The user's cache with its default budget."""
    root = default_cache_dir()
    return Cache(root, default_max_bytes(root))


def open_cache(cache_dir: str | Path | None) -> Cache:
    """The cache in a folder, as large as its disk allows; None is the user's."""
    if cache_dir is None:
        return default_cache()
    root = Path(cache_dir).expanduser().resolve()
    return Cache(root, default_max_bytes(root))


def _entries(root: Path) -> Iterator[tuple[int, int, Path]]:
    """`(last use in nanoseconds, bytes, path)` of every published entry."""
    for path in root.glob("[!.]*/[!.]*"):
        with suppress(OSError):  # evicted by another process meanwhile
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            yield path.stat().st_mtime_ns, size, path


def _host() -> str:
    """Containers that share a cache have process ids of their own; their host names tell them apart."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_dead(name: str) -> bool:
    pid, host, _ = name.removeprefix(_TEMPORARY).split("-")
    if host != _host():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _sync(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
