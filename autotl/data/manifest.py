"""The manifest: the immutable index of labelled images that everything after the check works from."""

import csv
import hashlib
import json
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TextIO

import numpy as np

from autotl.errors import DataError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
FORMAT_VERSION = 1
_COLUMNS = ["path", "label", "split", "group", "sha256"]
_MARK = "# "


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image: `path` inside the source, `label` as index into the classes, `group` of its duplicates."""

    path: str
    label: int
    split: Split
    group: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Samples in a fixed order; row `i` of every store belongs to `samples[i]`. The class order is frozen here.

    `root` is the folder, zip or CSV that the paths belong to; `open_source(Path(root))` reads them.
    """

    root: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the classes and each sample's content and label, in order. Neither root nor split counts."""
        return _digest([self.classes, [(sample.sha256, sample.label) for sample in self.samples]])

    @cached_property
    def split_fingerprint(self) -> str:
        """sha256 over `fingerprint` and each sample's split and group."""
        return _digest([self.fingerprint, [(sample.split, sample.group) for sample in self.samples]])

    @cached_property
    def sha256s(self) -> tuple[str, ...]:
        """The content hashes in order."""
        return tuple(sample.sha256 for sample in self.samples)

    def rows(self, *splits: str) -> np.ndarray:
        """Indices int64 `[n]`, ascending, of the samples in any of the given splits."""
        unknown = sorted(set(splits) - set(SPLITS))
        if unknown:
            raise ValueError(f"splits are {', '.join(SPLITS)}; given {', '.join(unknown)}")
        return np.array([row for row, sample in enumerate(self.samples) if sample.split in splits], dtype=np.int64)

    def labels(self) -> np.ndarray:
        """Class indices int64 `[N]`."""
        return np.array([sample.label for sample in self.samples], dtype=np.int64)

    def write(self, path: Path) -> None:
        """Write as CSV with one comment line of JSON on top, atomically. `read` gives back an equal manifest."""
        header = {"autotl_manifest": FORMAT_VERSION, "root": self.root, "classes": self.classes}
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with _open(temporary, "w") as file:
            file.write(_MARK + json.dumps(header) + "\r\n")
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for sample in self.samples:
                writer.writerow([sample.path, self.classes[sample.label], sample.split, sample.group, sample.sha256])
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read what `write` wrote.

        Raises:
            DataError: The file is missing, is no manifest, or is damaged.
        """
        try:
            with _open(path, "r") as file:
                header = json.loads(file.readline().removeprefix(_MARK))
                if header["autotl_manifest"] != FORMAT_VERSION:
                    raise ValueError(f"format {header['autotl_manifest']}, expected {FORMAT_VERSION}")
                classes = tuple(header["classes"])
                index = {name: number for number, name in enumerate(classes)}
                rows = csv.reader(file)
                if next(rows) != _COLUMNS:
                    raise ValueError("other columns")
                return cls(header["root"], classes, tuple(_sample(row, index) for row in rows))
        except (OSError, ValueError, KeyError, TypeError, StopIteration, csv.Error) as error:
            raise DataError(
                f"A manifest is written by autotl; {path} cannot be read as one ({error}). Run the check anew."
            ) from error


def _open(path: Path, mode: Literal["r", "w"]) -> TextIO:
    """Row by row, and never as one text: an index of many images is read and written by every process.

    File names on Linux are bytes; those that are not UTF-8 come as surrogates and must survive the round trip.
    """
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")


def _sample(row: list[str], index: dict[str, int]) -> Sample:
    path, label, split, group, sha256 = row
    if split not in SPLITS:
        raise ValueError(f"the split {split!r}")
    return Sample(path, index[label], split, int(group), sha256)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()
