"""`check_dataset`: from a path to a checked manifest, in one pass over the bytes or, the second time, in none."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.data.arrays import keep_rows
from autotl.data.decode import MAX_PIXELS, STRETCH
from autotl.data.images import KIND, image_store_key, open_images
from autotl.data.manifest import Manifest
from autotl.data.records import (
    Progress,
    Record,
    examine,
    find_records,
    good,
    keep_records,
    open_writers,
    scan_key,
)
from autotl.data.samples import resolve_dataset
from autotl.data.scan import Layout, read_layout
from autotl.data.selection import Selection, select
from autotl.data.source import Source, open_source
from autotl.data.store import Cache
from autotl.data.summary import summarise


@dataclass(frozen=True)
class Checked:
    """A data set that can be used, and what was found on the way (`summary.summarise` describes the report)."""

    manifest: Manifest
    report: dict[str, Any]


def check_dataset(
    dataset: str,
    *,
    seed: int = 0,
    image_sizes: Sequence[int] = (),
    resize: str = STRETCH,
    cache: Cache | None = None,
    max_pixels: int = MAX_PIXELS,
    on_progress: Progress | None = None,
) -> Checked:
    """Scan, decode, find duplicates, split; and store the images in every wanted size, from one decode of each file.

    The result of the pass is cached, so a second call on unchanged files reads headers of the file system only
    (`report["decoded"] == 0`). The split is computed anew from it each time and depends on `seed`; the stores do not.

    Args:
        dataset: A folder, zip, CSV or `.npz` file, `sample:NAME`, or `SOURCE:NAME` of a plugin.
        seed: Of the split.
        image_sizes: Sides in pixels for which an ImageStore is built, unless the cache has it.
        resize: How images are made square in them, one of `decode.RESIZES`.
        cache: Where results and stores are kept; None keeps nothing, and `image_sizes` must then be empty.
        max_pixels: Larger images are skipped without decoding.
        on_progress: Called with (files done, files in all).

    Raises:
        DataError: The data set cannot be used; the message says why and what to do.
    """
    if image_sizes and cache is None:
        raise ValueError("image stores need a cache")
    started = time.perf_counter()
    path = resolve_dataset(dataset, cache)
    with open_source(path) as source:
        sizes = tuple(sorted(set(image_sizes)))
        job = _Job(source, str(path.resolve()), read_layout(source), seed, sizes, resize, max_pixels)
        key = scan_key(source, job.names, max_pixels)
        records = None if cache is None else find_records(cache, key, job.names)
        if records is None:
            records, selection = _first_pass(job, key, cache, on_progress)
            decoded = sum(1 for _ in good(records))
        else:
            selection = select(job.root, job.layout, records, seed)
            decoded = _add_stores(selection.manifest, job, cache, on_progress)
        refused = [] if job.layout.kind == "csv" else source.refused()
    report = summarise(dataset, job.layout, records, selection, refused)
    report |= {"decoded": decoded, "seconds": round(time.perf_counter() - started, 3)}
    return Checked(selection.manifest, report)


@dataclass(frozen=True)
class _Job:
    source: Source
    root: str
    layout: Layout
    seed: int
    image_sizes: tuple[int, ...]
    resize: str
    max_pixels: int

    @property
    def names(self) -> list[str]:
        return [entry.path for entry in self.layout.entries]


def _first_pass(
    job: _Job, key: str, cache: Cache | None, on_progress: Progress | None
) -> tuple[list[Record], Selection]:
    """Rows are written for every good image in reading order; those that are dropped afterwards are then taken out."""
    with ExitStack() as stack:
        writers = open_writers(stack, cache, job.image_sizes)
        records = examine(job.source, job.names, writers, job.max_pixels, on_progress, job.resize)
        if cache is not None:
            keep_records(cache, key, records)
        selection = select(job.root, job.layout, records, job.seed)
        row = {index: position for position, index in enumerate(good(records))}
        kept = np.array([row[index] for index in selection.kept], dtype=np.int64)
        for size, writer in writers:
            assert cache is not None
            writer.close()
            if len(kept) < writer.count:
                keep_rows(writer.directory, kept)
            cache.publish(KIND, image_store_key(selection.manifest.sha256s, size, job.resize), writer.directory)
    return records, selection


def _add_stores(manifest: Manifest, job: _Job, cache: Cache | None, on_progress: Progress | None) -> int:
    """Build the stores that are missing; returns how many images were decoded for that."""
    decoded = 0
    for size in job.image_sizes:
        assert cache is not None
        if cache.find(KIND, image_store_key(manifest.sha256s, size, job.resize)) is None:
            open_images(manifest, size, cache, on_progress, resize=job.resize)
            decoded += len(manifest.samples)
    return decoded
