"""The ImageStore: a manifest's images decoded once to uint8 `[N, S, S, 3]`, memory-mapped, one per image size."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from autotl.data.arrays import ArrayWriter, find_array, open_array
from autotl.data.decode import DECODE_VERSION, MAX_FILE_BYTES, STRETCH, ImageError, load_square, resize_rule
from autotl.data.manifest import Manifest
from autotl.data.parallel import map_in_order
from autotl.data.source import Source, open_source
from autotl.data.store import Cache, key_of
from autotl.errors import DataError

KIND = "images"
NO_PIXEL_LIMIT = 2**62
"""A manifest's images passed the check's own limit, which may have been raised: no second opinion here."""


def image_store_key(sha256s: Sequence[str], image_size: int, resize: str = STRETCH) -> str:
    """The key of a store: the images' content in order, the size and the rules, but neither labels nor splits."""
    samples = hashlib.sha256("\n".join(sha256s).encode()).hexdigest()
    rule = {"version": DECODE_VERSION, **resize_rule(resize)}
    return key_of({"kind": KIND, "samples": samples, "count": len(sha256s), "image_size": image_size, "rule": rule})


def open_images(
    manifest: Manifest,
    image_size: int,
    cache: Cache,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    resize: str = STRETCH,
) -> np.memmap:
    """The manifest's images as a read-only map uint8 `[N, S, S, 3]`, row `i` being `manifest.samples[i]`.

    Built and published when the cache does not have it; concurrent callers build it once.

    Args:
        image_size: S.
        cache: where the map is, or will be.
        on_progress: told (images done, images in all) where it is built.
        resize: one of `RESIZES`.

    Raises:
        DataError: An image has changed or vanished since the manifest was made.
    """
    key = image_store_key(manifest.sha256s, image_size, resize)
    images = find_array(cache.find(KIND, key))
    if images is not None:
        return images
    with cache.lock(KIND, key):
        images = find_array(cache.find(KIND, key))
        if images is not None:  # another process built it while this one waited
            return images
        with cache.building(KIND) as folder:
            _build(manifest, image_size, resize, folder, on_progress)
            images = open_array(folder)  # mapped before publishing: an eviction cannot come between
            cache.publish(KIND, key, folder)
            return images


def read_images(
    images: Source | Sequence[Path],
    image_size: int,
    batch_size: int = 64,
    *,
    names: Sequence[str] | None = None,
    on_skip: Callable[[str, ImageError], None] | None = None,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield `(names, uint8 [n, S, S, 3])` in order, decoded and stretched as for an ImageStore; nothing is stored.

    Args:
        images: A source (all its files, or those in `names`), or paths of single files.
        image_size: Side of the square, in pixels.
        batch_size: Images in a batch; the last one may be smaller, and skipped files make room for the next ones.
        names: What to read from a source, in this order.
        on_skip: Called with the name and the error of each file that is not a usable image.

    Raises:
        ImageError: A file is not a usable image and there is no `on_skip`.
    """
    read: Callable[[str], bytes]
    if isinstance(images, Sequence):
        wanted, read = [str(path) for path in images], _read_file
    else:
        wanted, read = list(images.names() if names is None else names), images.read

    def load(name: str) -> np.ndarray | ImageError:
        try:
            return load_square(read(name), image_size)
        except ImageError as error:
            return error
        except OSError as error:
            return ImageError("not an image", f"unreadable ({error.strerror or error})")

    batch: list[tuple[str, np.ndarray]] = []
    for name, loaded in zip(wanted, map_in_order(load, wanted), strict=True):
        if isinstance(loaded, np.ndarray):
            batch.append((name, loaded))
        elif on_skip is None:
            raise ImageError(loaded.reason, f"{name}: {loaded}")
        else:
            on_skip(name, loaded)
        if len(batch) == batch_size:
            yield [name for name, _ in batch], np.stack([square for _, square in batch])
            batch = []
    if batch:
        yield [name for name, _ in batch], np.stack([square for _, square in batch])


def _read_file(name: str) -> bytes:
    with Path(name).open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)  # decode() refuses what is longer


def _build(
    manifest: Manifest,
    image_size: int,
    resize: str,
    folder: Path,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    with (
        open_source(Path(manifest.root)) as source,
        ArrayWriter(folder, "uint8", (image_size, image_size, 3)) as writer,
    ):

        def load(row: int) -> np.ndarray:
            sample = manifest.samples[row]
            try:
                content = source.read(sample.path)
            except (OSError, DataError) as error:
                raise _changed(manifest, sample.path) from error
            if hashlib.sha256(content).hexdigest() != sample.sha256:
                raise _changed(manifest, sample.path)
            return load_square(content, image_size, resize, NO_PIXEL_LIMIT)

        for row, square in enumerate(map_in_order(load, range(len(manifest.samples)))):
            writer.append(square[None])
            if on_progress is not None:
                on_progress(row + 1, len(manifest.samples))


def _changed(manifest: Manifest, path: str) -> DataError:
    return DataError(
        f"Images must stay as they were when the data set was checked; {path} in {manifest.root} has changed or "
        "vanished. Start a new search."
    )
