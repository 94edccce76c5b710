"""The CSV manifest a user writes: `path,label[,split][,group]`, one row an image."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from autotl.data.entries import SPLIT_SPELLINGS, Entry
from autotl.data.source import Source
from autotl.errors import DataError

CSV_NAMES = ("manifest.csv", "metadata.csv")
_COLUMNS = {
    "path": "path",
    "file_name": "path",
    "filename": "path",
    "label": "label",
    "class": "label",
    "split": "split",
    "group": "group",
}


def find_csv(source: Source, names: list[str], top: str) -> str | None:
    """The CSV that describes the data set: the only file of a CSV source, or one of `CSV_NAMES` at the (inner) root.

    A `metadata.csv` without a label column is somebody's captions, not a manifest, and is left alone.
    """
    if len(names) == 1 and "/" not in names[0] and names[0].lower().endswith((".csv", ".tsv")):
        return names[0]
    for name in CSV_NAMES:
        if top + name not in names:
            continue
        header = next(_rows(_text(source, top + name)), (1, []))[1]
        if name == "manifest.csv" or {"path", "label"} <= set(_columns(header)):
            return top + name
    return None


def read_csv(source: Source, csv_name: str) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """The rows as entries, in order, with paths relative to the CSV's folder; and notes.

    Raises:
        DataError: With line numbers: columns are missing, a cell is empty, a path leaves the folder or comes twice,
            or a split is none of train, val, test in a usual spelling.
    """
    folder = csv_name.rpartition("/")[0]
    rows = _rows(_text(source, csv_name))
    columns = _columns(next(rows, (1, []))[1])
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        raise DataError(
            f"A CSV manifest starts with a header naming path and label (split and group may follow); {csv_name} lacks "
            f"{' and '.join(missing)}. Add the header line."
        )
    entries: dict[str, Entry] = {}
    faults: list[str] = []
    for line, cells in rows:
        entry = _entry(source, folder, columns, cells)
        if isinstance(entry, str):
            faults.append(f"line {line}: {entry}")
        elif entry.path in entries:
            faults.append(f"line {line}: {entry.path} is listed twice")
        else:
            entries[entry.path] = entry
    if faults:
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise DataError(f"Every row names one image and its label; {csv_name} has {'; '.join(faults[:5])}{more}.")
    return tuple(entries.values()), ()


def _text(source: Source, name: str) -> str:
    try:
        return source.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"A CSV manifest must be UTF-8; {name} is not ({error}). Save it as UTF-8.") from error


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Non-empty rows with their line numbers; the delimiter is the first of `,`, `;` and tab in the header."""
    header = text.partition("\n")[0]
    delimiter = min((char for char in ",;\t" if char in header), key=header.index, default=",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"A CSV manifest must parse; line {reader.line_num} does not ({error}).") from error


def _columns(header: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for index, name in enumerate(header):
        meaning = _COLUMNS.get(name.strip().lower())
        if meaning is not None:
            found.setdefault(meaning, index)
    return found


def _entry(source: Source, folder: str, columns: dict[str, int], cells: list[str]) -> Entry | str:
    """One row's entry, or what is wrong with the row."""
    values = {name: cells[index] if index < len(cells) else "" for name, index in columns.items()}
    label = values["label"].strip()
    if not values["path"]:
        return "no path"
    if not label:
        return "no label"
    path = _relative(source, folder, values["path"])
    if path is None:
        return f"{values['path']} leads out of the data set's folder"
    given = values.get("split", "").strip()
    if given and given.lower() not in SPLIT_SPELLINGS:
        return f"the split {given!r} is none of train, val, test"
    group = values.get("group", "").strip()
    return Entry(path, label, SPLIT_SPELLINGS[given.lower()] if given else None, group if group else None)


def _relative(source: Source, folder: str, given: str) -> str | None:
    """A cell as a name of the source: `./`, `a/../b` and absolute paths inside the folder are understood."""
    if Path(given).is_absolute():
        try:
            return Path(given).relative_to(source.root).as_posix()
        except ValueError:
            return None
    parts: list[str] = folder.split("/") if folder else []
    for part in given.replace("\\", "/").split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) if parts else None
