"""Layouts: which files are labelled images, with which label, and in which split they were given."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from autotl.data.entries import SPLIT_SPELLINGS, Entry
from autotl.data.listing import CSV_NAMES, find_csv, read_csv
from autotl.data.npz import NpzSource
from autotl.data.source import Source
from autotl.errors import DataError


@dataclass(frozen=True)
class Layout:
    """The labelled files in reading order, and what a person should know about how they were found."""

    kind: Literal["folders", "splits", "csv", "arrays"]
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


def read_layout(source: Source) -> Layout:
    """Recognise `class/*`, `{train,val,test}/class/*` or a CSV manifest, also below one single top folder, and arrays.

    Split folders are recognised in their usual spellings, in any case. A class named like a split ("train", the
    vehicle) is safe as long as its images lie directly in it.

    Raises:
        DataError: No file in any known layout, empty class folders, or class names that differ only in case or spaces.
    """
    layout = Layout("arrays", source.entries, source.notes) if isinstance(source, NpzSource) else _read_files(source)
    if not layout.entries:
        raise DataError(
            f"A data set is root/class/*, root/train|val|test/class/* or a CSV with path,label; {source.root} has no "
            "file in any of these places. Put each class's images into a folder named after the class."
        )
    _check_class_names({entry.label for entry in layout.entries})
    return layout


def _read_files(source: Source) -> Layout:
    names = source.names()
    top = _top_folder(names)
    csv_name = find_csv(source, names, top)
    return _read_folders(source, names, top) if csv_name is None else Layout("csv", *read_csv(source, csv_name))


def _top_folder(names: list[str]) -> str:
    """The prefix that all names share when everything sits under one wrapping folder ("photos/"), else ""."""
    prefix = ""
    while True:
        inner = [name[len(prefix) :] for name in names]
        tops = {name.split("/", 1)[0] for name in inner}
        if len(tops) != 1 or any("/" not in name for name in inner):
            return prefix
        top = next(iter(tops))
        # A single folder that holds files directly, or a lone train/, is a class or a split and no wrapper.
        wraps = any(name.count("/") >= 2 for name in inner) or any(_is_listing(name) for name in inner)
        if not wraps or top.lower() in SPLIT_SPELLINGS:
            return prefix
        prefix += top + "/"


def _is_listing(name: str) -> bool:
    return name.count("/") == 1 and name.split("/")[1] in CSV_NAMES


def _read_folders(source: Source, names: list[str], top: str) -> Layout:
    inner = [name[len(top) :] for name in names]
    folders = [name[len(top) :] for name in source.folders() if name.startswith(top) and len(name) > len(top)]
    splits = _split_folders(inner, folders)
    depth = 1 if splits is None else 2
    entries: list[Entry] = []
    outside: Counter[str] = Counter()
    for name in inner:
        parts = name.split("/")
        if len(parts) <= depth or (splits is not None and parts[0] not in splits):
            outside[parts[0] if len(parts) > 1 else name] += 1
            continue
        split = None if splits is None else splits[parts[0]]
        entries.append(Entry(top + name, parts[depth - 1], split))
    _check_no_empty_class(entries, folders, splits, depth)
    notes = []
    if outside:
        examples = ", ".join(sorted(outside)[:5])
        notes.append(f"{sum(outside.values())} files lie outside the class folders and are ignored (in {examples})")
    if top:
        notes.append(f"everything lies under {top}")
    return Layout("folders" if splits is None else "splits", tuple(entries), tuple(notes))


def _split_folders(inner: list[str], folders: list[str]) -> dict[str, str] | None:
    """The top folders that are splits, with the split each one means; None when the layout has none."""
    tops = {name.split("/")[0] for name in folders} | {name.split("/")[0] for name in inner if "/" in name}
    candidates = {top: SPLIT_SPELLINGS[top.lower()] for top in tops if top.lower() in SPLIT_SPELLINGS}
    with_classes = {name.split("/")[0] for name in inner if name.count("/") >= 2}
    labelled = {top: split for top, split in candidates.items() if top in with_classes}
    if not any(split == "train" for split in labelled.values()):
        return None
    if len(labelled) < 2 and set(candidates) != tops:
        return None
    twice = [split for split, count in Counter(labelled.values()).items() if count > 1]
    if twice:
        found = ", ".join(sorted(top for top, split in labelled.items() if split in twice))
        raise DataError(f"Each split is one folder; {found} mean the same split. Merge them or rename one.")
    return labelled


def _check_no_empty_class(entries: list[Entry], folders: list[str], splits: dict[str, str] | None, depth: int) -> None:
    at_depth = [name.split("/") for name in folders if name.count("/") == depth - 1]
    classes = {parts[-1] for parts in at_depth if splits is None or parts[0] in splits}
    empty = sorted(classes - {entry.label for entry in entries})
    if empty and entries:
        raise DataError(
            f"Every class folder must hold images; these are empty: {', '.join(empty[:10])}. Fill them or remove them."
        )


def _check_class_names(labels: set[str]) -> None:
    seen: dict[str, str] = {}
    for label in sorted(labels):
        plain = " ".join(label.split()).casefold()
        if plain in seen:
            raise DataError(
                f"Class names must differ by more than case and spaces; given {seen[plain]!r} and {label!r}. Rename "
                "one, or merge them if they mean the same."
            )
        seen[plain] = label
